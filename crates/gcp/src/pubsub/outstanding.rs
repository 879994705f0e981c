//! What a stream has handed out and is not settled yet.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use google_cloud_pubsub::subscriber::handler::Handler;
use tokio::time::sleep;

use super::receive::Settle;

/// The server has heard by then that a stream was closed.
const CLOSED_WITHIN: Duration = Duration::from_millis(250);

/// The SDK's way back, counted among those that are not settled until it is gone.
#[derive(Debug)]
pub(super) struct Lease {
    /// Taken once, by whoever settles. What nobody settles is nacked by the SDK.
    handler: Option<Handler>,
    outstanding: Arc<Outstanding>,
}

impl Settle for Lease {
    fn ack(self: Box<Self>) {
        self.settle(Handler::ack);
    }

    fn nack(self: Box<Self>) {
        self.settle(Handler::nack);
    }
}

impl Lease {
    fn settle(mut self: Box<Self>, how: fn(Handler)) {
        let handler = self.handler.take().expect("it is settled once");
        let mut held = self.outstanding.held.lock().expect("no holder panics");
        match &mut *held {
            // It counts on, so that the server goes on thinking so.
            Some(held) => {
                held.push((handler, how));
                self.outstanding.count.fetch_add(1, Ordering::Relaxed);
            }
            None => how(handler),
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.outstanding.count.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What is outstanding.
#[derive(Debug, Default)]
pub(super) struct Outstanding {
    count: AtomicUsize,
    /// Settlements that wait for the stream to be closed, once it is stopped.
    held: Mutex<Option<Vec<(Handler, fn(Handler))>>>,
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
