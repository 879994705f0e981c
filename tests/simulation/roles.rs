//! The roles of an installation, configured and behind doors that are simulated.

use std::sync::Arc;

use branchline_gitlab::Client;
use branchline_service::metrics::Role;
use branchline_service::{Doors, Health, Metrics};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::identity;
use crate::story::{
    ARCHIVE, ARTIFACT_READY, DEAD_LETTERS, EVENTS, HOST, LEDGER, MOVED, OPERATORS, OUTPUT, QUEUE,
    REQUESTS, RUN_EVENTS, SETTLE, STAGING,
};
use crate::world::{Door, State, wall_clock};

pub(crate) async fn work(door: Door, stop: CancellationToken) {
    let door = Arc::new(door);
    let doors = Doors {
        storage: door.clone(),
        publisher: door.clone(),
        subscriber: door.clone(),
        clock: wall_clock,
    };
    let health = Health::default();
    let role = if door.process == 2 { Role::Notifier } else { Role::Worker };
    let metrics = Metrics::new(role, wall_clock);
    if door.process == 2 {
        let client = Client::over(door, HOST.to_owned());
        branchline_notifier::work(notifier(), doors, client, None, health, metrics, stop).await;
    } else {
        let (config, trust) = (worker(&door.world.state()), identity::trust(&door));
        let work = branchline_worker::work(config, doors, door, trust, health, metrics, stop);
        Box::pin(work).await;
    }
}

fn worker(state: &State) -> branchline_worker::Config {
    let deliveries_max = state.deliveries_max;
    serde_json::from_value(json!({
        "staging": state.staging.then(|| json!({"bucket": STAGING})),
        "wait_max": if deliveries_max < 100 { "30m" } else { "72h" },
        "subscription": REQUESTS,
        "dead_letter_topic": DEAD_LETTERS,
        "dead_letter_subscription": MOVED,
        "dead_letter_bucket": ARCHIVE,
        "artifact_topic": ARTIFACT_READY,
        "run_event_topic": RUN_EVENTS,
        "ledger_bucket": LEDGER,
        "queue_bucket": QUEUE,
        "request_bucket": OPERATORS,
        "output_bucket": OUTPUT,
        "identity": {"issuers": []},
        "policy": "policy.yaml",
        "regions": ["europe-west4"],
        "lease": "15s",
        "tick": "3s",
        "create_max": "10s",
        "settle": format!("{}s", SETTLE.as_secs()),
        "consume": {"grace": "10s", "in_flight_max": 4, "attempts_max": deliveries_max},
    }))
    .expect("a configuration")
}

fn notifier() -> branchline_notifier::Config {
    serde_json::from_value(json!({
        "subscription": EVENTS,
        "dead_letter_topic": DEAD_LETTERS,
        "ledger_bucket": LEDGER,
        "gitlab": format!("https://{HOST}"),
        "consume": {"grace": "10s", "in_flight_max": 4},
    }))
    .expect("a configuration")
}
