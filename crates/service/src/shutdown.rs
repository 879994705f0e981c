//! The only place that listens to signals, and how long what they stop may take.

use std::io;
use std::process;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// Cancels the returned token at the first SIGTERM or SIGINT. A second one ends
/// the process at once, with the exit code that the signal would have given it.
pub fn stop_on_signal() -> io::Result<CancellationToken> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let stop = CancellationToken::new();
    let stopping = stop.clone();
    tokio::spawn(async move {
        let mut next = async || {
            tokio::select! {
                biased;
                _ = terminate.recv() => ("SIGTERM", 128 + 15),
                _ = interrupt.recv() => ("SIGINT", 128 + 2),
            }
        };
        let (name, _) = next().await;
        info!(signal = name, "stop was requested");
        stopping.cancel();
        let (name, code) = next().await;
        warn!(signal = name, "stop was requested again; exiting at once");
        process::exit(code);
    });
    Ok(stop)
}

/// Waits for `work`, but for no longer than `grace` after the stop, and tells
/// whether it ended. Whatever a process waits for at its end shares this one
/// grace period: counted one after another, several would be longer than what
/// Kubernetes grants.
pub async fn within_grace(work: impl Future, stop: &CancellationToken, grace: Duration) -> bool {
    let over = async {
        stop.cancelled().await;
        tokio::time::sleep(grace).await;
    };
    tokio::select! {
        biased;
        _ = work => true,
        () = over => false,
    }
}
