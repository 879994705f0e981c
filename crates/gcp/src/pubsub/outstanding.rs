//! What a stream has handed out and is not settled yet.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use google_cloud_pubsub::subscriber::handler::Handler;
use tokio::time::sleep;

use super::receive::Settle;

/// The server has heard by then that a stream was closed.
const CLOSED_WITHIN: Duration = Duration::from_millis(250);

/// The SDK's way back, counted among those that are not settled.
#[derive(Debug)]
pub(super) struct Lease {
    /// Taken once, by whoever settles. What nobody settles is nacked by the SDK.
    handler: Option<Handler>,
    outstanding: Arc<Outstanding>,
}

impl Settle for Lease {
    fn ack(self: Box<Self>) {
        (*self).settle(Handler::ack);
    }

    fn nack(self: Box<Self>) {
        (*self).settle(Handler::nack);
    }
}

impl Lease {
    fn settle(mut self, how: fn(Handler)) {
        let handler = self.handler.take().expect("it is settled once");
        let mut held = self.outstanding.held.lock().expect("no holder panics");
        if let Some(held) = &mut *held {
            // It counts on, as it does for the server.
            held.push((handler, how));
        } else {
            how(handler);
            self.outstanding.count.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if self.handler.is_some() {
            self.outstanding.count.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// A settlement that waits.
type Held = (Handler, fn(Handler));

/// What is outstanding.
#[derive(Debug, Default)]
pub(super) struct Outstanding {
    count: AtomicUsize,
    /// Settlements that wait for the stream to be closed, once it is stopped.
    held: Mutex<Option<Vec<Held>>>,
}

impl Outstanding {
    /// Counts a message in.
    pub(super) fn lease(self: &Arc<Self>, handler: Handler) -> Lease {
        self.count.fetch_add(1, Ordering::Relaxed);
        Lease { handler: Some(handler), outstanding: self.clone() }
    }

    /// Whether the server may send nothing more, since so many were handed out.
    pub(super) fn is_full(&self, outstanding_max: u32) -> bool {
        self.count.load(Ordering::Relaxed) >= outstanding_max as usize
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
        for (handler, how) in held.into_iter().flatten() {
            how(handler);
            self.count.fetch_sub(1, Ordering::Relaxed);
        }
    }
}
