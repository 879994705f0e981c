//! What a stream has handed out and is not settled yet.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use google_cloud_pubsub::subscriber::handler::Handler;
use tokio::time::sleep;

use super::receive::Settle;

/// The server has heard by then that a stream was closed.
const CLOSED_WITHIN: Duration = Duration::from_millis(50);

/// The SDK's way back, counted among those that are not settled.
#[derive(Debug)]
pub(super) struct Lease {
    pub(super) handler: Handler,
    pub(super) outstanding: Arc<Outstanding>,
}

impl Settle for Lease {
    fn ack(self: Box<Self>) {
        Outstanding::settle(*self, Handler::ack);
    }

    fn nack(self: Box<Self>) {
        Outstanding::settle(*self, Handler::nack);
    }
}

/// What a stream has handed out and is not settled; every [`Lease`] holds it once more.
#[derive(Debug, Default)]
pub(super) struct Outstanding {
    /// Those whose settlement waits for the stream to be closed, once it is stopped.
    held: Mutex<Option<Vec<Held>>>,
}

/// A settlement that waits.
type Held = (Lease, fn(Handler));

impl Outstanding {
    fn settle(lease: Lease, how: fn(Handler)) {
        let outstanding = lease.outstanding.clone();
        match &mut *outstanding.held.lock().expect("no holder panics") {
            Some(held) => held.push((lease, how)),
            None => how(lease.handler),
        }
    }

    /// Whether the server may send nothing more, since so many were handed out.
    pub(super) fn is_full(self: &Arc<Self>, outstanding_max: u32) -> bool {
        // The stream's own task holds it once, too.
        Arc::strong_count(self) > outstanding_max as usize
    }

    /// From now on nothing is settled.
    pub(super) fn hold(&self) {
        self.held.lock().expect("no holder panics").get_or_insert_default();
    }

    /// The stream is closed: settles what was held, and whatever comes.
    pub(super) async fn release(&self) {
        if self.held.lock().expect("no holder panics").is_some() {
            // An ack may go by another connection than the end of the stream, and overtake it.
            sleep(CLOSED_WITHIN).await;
        }
        let held = self.held.lock().expect("no holder panics").take();
        for (lease, how) in held.into_iter().flatten() {
            how(lease.handler);
        }
    }
}
