//! What a process counts, for Prometheus: every family and every label's values have their home
//! here. Labels come from closed sets, or from configuration; nothing that a stranger wrote is one.
//!
//! A [`Metrics`] is made where a role begins and passed down. There is no other, so that two roles
//! in one process count apart.

mod deliveries;
mod doors;
mod leader;

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use branchline_ledger::Clock;
use prometheus_client::encoding::prometheus_text;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Metric, Registry};
use tokio::time::Instant;

use crate::health::Health;

pub use deliveries::{Deliveries, Received};
pub use leader::{Line, Round};

use doors::Door;
use leader::Leader;

/// What `GET /metrics` says it is.
pub(crate) const CONTENT_TYPE: &str = prometheus_text::CONTENT_TYPE;

type Labels<const N: usize> = [(&'static str, Cow<'static, str>); N];
type Counters<const N: usize> = Family<Labels<N>, Counter>;
type Gauges<const N: usize> = Family<Labels<N>, Gauge>;
type Seconds<const N: usize> = Family<Labels<N>, Gauge<f64, AtomicU64>>;
type Histograms<const N: usize> = Family<Labels<N>, Histogram, fn() -> Histogram>;

/// A role, as far as it counts other things than another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Takes requests in, and may lead.
    Worker,
    /// Reports to GitLab.
    Notifier,
}

impl Role {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Worker => "worker",
            Self::Notifier => "notifier",
        }
    }
}

/// Where a panic was caught.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Panicked {
    /// While a delivery was handled.
    Handler,
    /// While the leader took a run on.
    Turn,
}

impl Panicked {
    const ALL: [Self; 2] = [Self::Handler, Self::Turn];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Handler => "handler",
            Self::Turn => "turn",
        }
    }
}

/// Everything that one role counts. Cheap to clone.
#[derive(Clone)]
pub struct Metrics(Arc<Families>);

struct Families {
    registry: Registry,
    clock: Clock,
    deliveries: deliveries::Families,
    storage: Door,
    publishes: Door,
    vertex: Door,
    gitlab: Door,
    leader: Leader,
    panics: Counters<1>,
    ready: Gauges<1>,
}

impl Metrics {
    /// Nothing counted yet. `clock` tells how old a message is.
    pub fn new(role: Role, clock: Clock) -> Self {
        let mut registry = Registry::with_prefix("branchline");
        let to = &mut registry;
        let info = Gauges::<2>::default();
        let labels = [label("role", role.as_str()), label("version", env!("CARGO_PKG_VERSION"))];
        info.get_or_create(&labels).set(1);
        register(to, "build_info", "Role and version of this process", &info);
        let deliveries = deliveries::Families::new(to);
        let storage = Door::new(to, "storage_request", "calls to Cloud Storage");
        let publishes = Door::new(to, "publish_request", "messages published to Pub/Sub");
        let gitlab = Door::new(to, "gitlab_request", "calls to GitLab");
        let panics = Counters::<1>::default();
        for it in Panicked::ALL {
            panics.get_or_create(&[label("where", it.as_str())]).inc_by(0);
        }
        register(
            to,
            "panics",
            "Panics that were caught, which are faults of this program",
            &panics,
        );
        let ready = Gauges::<1>::default();
        register(to, "ready", "Whether a condition of readiness is fine", &ready);
        let (vertex, leader) = match role {
            Role::Worker => {
                (Door::new(to, "vertex_request", "requests to Vertex AI"), Leader::new(to))
            }
            Role::Notifier => (Door::unseen(), Leader::unseen()),
        };
        Self(Arc::new(Families {
            registry,
            clock,
            deliveries,
            storage,
            publishes,
            vertex,
            gitlab,
            leader,
            panics,
            ready,
        }))
    }

    /// Counts a panic.
    pub fn panicked(&self, place: Panicked) {
        self.0.panics.get_or_create(&[label("where", place.as_str())]).inc();
    }

    /// All of it in Prometheus' text format, with the conditions of readiness as they are now.
    pub fn text(&self, health: &Health) -> String {
        for (condition, fine) in health.conditions() {
            self.0.ready.get_or_create(&[label("condition", condition)]).set(fine.into());
        }
        self.0.deliveries.look((self.0.clock)(), Instant::now());
        let mut text = String::new();
        prometheus_text::encode(&mut text, &self.0.registry).expect("a text takes everything");
        text
    }
}

fn label(
    name: &'static str,
    value: impl Into<Cow<'static, str>>,
) -> (&'static str, Cow<'static, str>) {
    (name, value.into())
}

/// The library ends the help with a full stop, and the name of a counter with `_total`.
fn register<M: Metric + Clone>(registry: &mut Registry, name: &str, help: &str, metric: &M) {
    registry.register(name, help, metric.clone());
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use branchline_contract::Outcome;
    use branchline_gcp::Class as Gcp;
    use branchline_ledger::State;
    use expect_test::expect;
    use jiff::{SignedDuration, Timestamp};

    use super::*;
    use crate::settlement::{Failure, Reason, Settlement};

    fn now() -> Timestamp {
        Timestamp::constant(1_800_000_000, 0)
    }

    fn before(seconds: i64) -> Timestamp {
        now() - SignedDuration::from_secs(seconds)
    }

    /// The lines of these families, without the buckets.
    fn shown(metrics: &Metrics, families: &[&str]) -> String {
        let text = metrics.text(&Health::default());
        let ours =
            |line: &&str| families.iter().any(|it| line.starts_with(&format!("branchline_{it}")));
        let mut lines: Vec<_> =
            text.lines().filter(ours).filter(|it| !it.contains("_bucket")).collect();
        lines.sort_unstable();
        lines.join("\n") + "\n"
    }

    #[test]
    fn a_delivery_counts_as_what_became_of_it() {
        let metrics = Metrics::new(Role::Worker, now);
        let deliveries = metrics.deliveries("projects/p/subscriptions/work");
        deliveries.received("1", before(90)).settled(&Settlement::Ack);
        let detail = String::new();
        let retry = Settlement::Retry(Failure { reason: Reason::PermissionDenied, detail });
        deliveries.received("2", before(30)).settled(&retry);
        let held = deliveries.received("3", before(60));
        let lines = shown(&metrics, &["deliveries", "backlog", "oldest"]);
        let moved: Vec<_> = lines.lines().filter(|it| !it.ends_with(" 0")).collect();
        expect![[r#"
            branchline_backlog_age_seconds{subscription="work"} 60.0
            branchline_deliveries_in_flight{subscription="work"} 1
            branchline_deliveries_total{subscription="work",settlement="ack",class="none"} 1
            branchline_deliveries_total{subscription="work",settlement="retry",class="permission"} 1
            branchline_oldest_nacked_age_seconds{subscription="work"} 30.0"#]]
        .assert_eq(&moved.join("\n"));
        // What is given up without a word is in flight no more.
        drop(held);
        let lines = shown(&metrics, &["deliveries_in_flight"]);
        assert!(lines.lines().all(|it| it.ends_with(" 0")), "{lines}");
    }

    #[test]
    fn a_failure_of_a_call_has_a_line_before_it_happens() {
        let metrics = Metrics::new(Role::Worker, now);
        metrics.0.vertex.ended("create", None, Duration::from_millis(20));
        metrics.0.vertex.ended("create", Some(Gcp::Quota.into()), Duration::from_millis(20));
        expect![[r#"
            branchline_vertex_request_duration_seconds_count{operation="create"} 2
            branchline_vertex_request_duration_seconds_sum{operation="create"} 0.04
            branchline_vertex_requests_total{operation="create",result="conflict"} 0
            branchline_vertex_requests_total{operation="create",result="not_found"} 0
            branchline_vertex_requests_total{operation="create",result="ok"} 1
            branchline_vertex_requests_total{operation="create",result="permission"} 0
            branchline_vertex_requests_total{operation="create",result="quota"} 1
            branchline_vertex_requests_total{operation="create",result="refused"} 0
            branchline_vertex_requests_total{operation="create",result="transient"} 0
        "#]]
        .assert_eq(&shown(&metrics, &["vertex"]));
    }

    #[test]
    fn whoever_does_not_lead_any_more_shows_no_queue() {
        let metrics = Metrics::new(Role::Worker, now);
        metrics.leads(true);
        metrics.runs([State::Held(String::new()), State::Admitted].iter(), 1);
        metrics.finished(Outcome::Succeeded);
        metrics.unresolved_dead_letters(Reason::Refused, 3);
        let families = ["leader", "runs", "dead_letters"];
        let moved = |text: String| {
            text.lines().filter(|it| !it.ends_with(" 0")).collect::<Vec<_>>().join("\n")
        };
        expect![[r#"
            branchline_dead_letters_unresolved{reason="refused"} 3
            branchline_leader 1
            branchline_runs_blocked 1
            branchline_runs_finished_total{outcome="succeeded"} 1
            branchline_runs{state="admitted"} 1
            branchline_runs{state="held"} 1"#]]
        .assert_eq(&moved(shown(&metrics, &families)));
        metrics.leads(false);
        expect![[r#"branchline_runs_finished_total{outcome="succeeded"} 1"#]]
            .assert_eq(&moved(shown(&metrics, &families)));
    }

    #[test]
    fn a_notifier_counts_nothing_of_the_leader() {
        let text = Metrics::new(Role::Notifier, now).text(&Health::default());
        assert!(text.contains("branchline_panics_total"), "{text}");
        assert!(!text.contains("branchline_leader") && !text.contains("vertex"), "{text}");
    }
}
