//! Liveness, readiness and metrics over HTTP, for Kubernetes, Prometheus and people.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::get;
use branchline_gcp::{Class, Error as GcpError};
use tokio::net::TcpListener;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::metrics::{self, Metrics};
use crate::telemetry::chain;

/// Named conditions of a process, each fine or a sentence that says what is
/// wrong. Cheap to clone; a process without conditions is ready.
#[derive(Clone, Debug, Default)]
pub struct Health {
    conditions: Arc<Mutex<BTreeMap<&'static str, Condition>>>,
}

/// What is wrong and how to mend it, in a sentence, and until when that is told.
#[derive(Clone, Debug, Default)]
struct Condition(Option<(String, Option<Instant>)>);

impl Condition {
    fn broken(&self) -> Option<&str> {
        let (sentence, until) = self.0.as_ref()?;
        until.is_none_or(|it| Instant::now() < it).then_some(sentence)
    }
}

impl Health {
    /// Declares a condition fine.
    pub fn ok(&self, condition: &'static str) {
        self.set(condition, Condition::default());
    }

    /// Declares a condition broken: the process is not ready until it is fine again.
    pub fn broken(&self, condition: &'static str, sentence: impl Into<String>) {
        self.set(condition, Condition(Some((sentence.into(), None))));
    }

    /// Takes note of an error if Google does not allow what was tried, or has no such thing. It is told for that long:
    /// what was tried may succeed elsewhere the next time, in another process, and this one would never hear of it.
    pub fn denied(&self, condition: &'static str, error: &GcpError, told_for: Duration) {
        if matches!(error.class(), Class::Permission | Class::NotFound) {
            let until = Instant::now() + told_for;
            self.set(condition, Condition(Some((denial(error), Some(until)))));
        }
    }

    /// Every condition, one a line, and whether all of them are fine.
    pub fn report(&self) -> (bool, String) {
        let conditions = self.conditions.lock().expect("no holder panics");
        let lines = conditions
            .iter()
            .map(|(name, condition)| format!("{name}: {}\n", condition.broken().unwrap_or("ok")));
        (conditions.values().all(|it| it.broken().is_none()), lines.collect())
    }

    /// Every condition, and whether it is fine.
    pub(crate) fn conditions(&self) -> Vec<(&'static str, bool)> {
        let conditions = self.conditions.lock().expect("no holder panics");
        conditions.iter().map(|(name, condition)| (*name, condition.broken().is_none())).collect()
    }

    fn set(&self, name: &'static str, condition: Condition) {
        self.conditions.lock().expect("no holder panics").insert(name, condition);
    }
}

/// The sentence for something that Google does not allow: first what is missing, where that is known.
fn denial(error: &GcpError) -> String {
    let lacking = error.lacking().map(|it| format!("{it}; ")).unwrap_or_default();
    format!("{lacking}{}", chain(error))
}

/// The address of the configuration that nobody can listen on.
#[derive(Debug, thiserror::Error)]
#[error("listen: {address} cannot be listened on")]
pub struct Unbound {
    address: SocketAddr,
    source: io::Error,
}

/// What [`serve`] answers on.
pub async fn listen(address: SocketAddr) -> Result<TcpListener, Unbound> {
    TcpListener::bind(address).await.map_err(|source| Unbound { address, source })
}

/// Answers `GET /livez`, `GET /readyz` and `GET /metrics` until `stop`. Liveness says only that
/// the process answers: a restart mends no condition, so none is part of it.
pub async fn serve(
    listener: TcpListener,
    health: Health,
    metrics: Metrics,
    stop: CancellationToken,
) -> io::Result<()> {
    let router = Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(scraped))
        .with_state((health, metrics));
    axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned()).await
}

async fn ready(State((health, _)): State<(Health, Metrics)>) -> (StatusCode, String) {
    match health.report() {
        (true, text) => (StatusCode::OK, if text.is_empty() { "ok\n".to_owned() } else { text }),
        (false, text) => (StatusCode::SERVICE_UNAVAILABLE, text),
    }
}

async fn scraped(State((health, metrics)): State<(Health, Metrics)>) -> impl IntoResponse {
    ([(CONTENT_TYPE, metrics::CONTENT_TYPE)], metrics.text(&health))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Role;
    use jiff::Timestamp;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    #[tokio::test]
    async fn readiness_follows_the_conditions_and_liveness_does_not() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (health, stop) = (Health::default(), CancellationToken::new());
        let metrics = Metrics::new(Role::Worker, Timestamp::now);
        let server = tokio::spawn(serve(listener, health.clone(), metrics, stop.clone()));
        let ask = async |path: &str| {
            let mut stream = TcpStream::connect(address).await.unwrap();
            let request = format!("GET {path} HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n");
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            let (head, body) = answer.split_once("\r\n\r\n").unwrap();
            (head[9..12].to_owned(), body.to_owned())
        };
        let answer = |code: &str, body: &str| (code.to_owned(), body.to_owned());

        assert_eq!(ask("/readyz").await, answer("200", "ok\n"));
        health.ok("pubsub");
        health.broken("gitlab", "the token may not write commit statuses");
        let body = "gitlab: the token may not write commit statuses\npubsub: ok\n";
        assert_eq!(ask("/readyz").await, answer("503", body));
        assert_eq!(ask("/livez").await, answer("200", "ok\n"));
        let scraped = ask("/metrics").await.1;
        assert!(scraped.contains("branchline_ready{condition=\"gitlab\"} 0\n"), "{scraped}");
        health.ok("gitlab");
        assert_eq!(ask("/readyz").await, answer("200", "gitlab: ok\npubsub: ok\n"));

        stop.cancel();
        server.await.unwrap().unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_is_told_until_it_is_met_no_more() {
        const TOLD_FOR: Duration = Duration::from_secs(20);
        // The codes are those of `google.rpc`.
        let unavailable = GcpError::answered("listing", 14, "it does not answer");
        let forbidden = GcpError::answered("listing", 7, "Permission 'a.b.list' denied");
        let health = Health::default();
        health.denied("reconcile", &unavailable, TOLD_FOR);
        assert_eq!(health.report(), (true, String::new()));
        health.denied("reconcile", &forbidden, TOLD_FOR);
        tokio::time::advance(TOLD_FOR / 2).await;
        health.denied("reconcile", &unavailable, TOLD_FOR);
        let (ready, told) = health.report();
        assert!(!ready && told.starts_with("reconcile: missing: a.b.list; listing"), "{told}");
        assert_eq!(health.conditions(), [("reconcile", false)]);
        health.ok("reconcile");
        assert!(health.report().0, "it was allowed meanwhile");
        health.denied("reconcile", &forbidden, TOLD_FOR);
        tokio::time::advance(TOLD_FOR).await;
        assert_eq!(health.report(), (true, "reconcile: ok\n".to_owned()));
        assert_eq!(health.conditions(), [("reconcile", true)]);
    }
}
