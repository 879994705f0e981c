//! Deliveries: how many, what became of them, how long they took and how old they are.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use tokio::time::Instant;

use super::{Counters, Gauges, Histograms, Labels, Metrics, Seconds, label, register};
use crate::settlement::{Class, Settlement};

/// From a look into the ledger to a large object that is read and hashed.
const BUCKETS: [f64; 13] =
    [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 300.0, 1800.0];

/// A subscription's longest backoff is 10 minutes. What has not come again after so long went to
/// another process.
const COMES_WITHIN: Duration = Duration::from_mins(15);
/// Nacked messages that are kept in mind, the oldest first: only the oldest is told of.
const NACKED_MAX: usize = 1_000;

pub(super) struct Families {
    settled: Counters<3>,
    duration: Histograms<1>,
    in_flight: Gauges<1>,
    backlog: Seconds<1>,
    nacked_age: Seconds<1>,
    /// What was nacked and not handled since, by subscription and message id.
    nacked: Mutex<BTreeMap<String, BTreeMap<String, Nacked>>>,
}

/// A message that comes again. Between its deliveries no process holds it, and that is when it is
/// looked for: its age counts all the same.
struct Nacked {
    published: Timestamp,
    /// Until when it counts, unless it is being handled again.
    until: Option<Instant>,
}

/// The deliveries of one subscription. Cheap to clone.
#[derive(Clone)]
pub struct Deliveries {
    metrics: Metrics,
    subscription: Arc<str>,
}

/// A delivery in flight. One that is dropped was not settled.
pub struct Received {
    of: Deliveries,
    id: String,
    published: Timestamp,
    since: Instant,
}

impl Families {
    pub(super) fn new(to: &mut Registry) -> Self {
        let duration: fn() -> Histogram = || Histogram::new(BUCKETS);
        let it = Self {
            settled: Counters::default(),
            duration: Histograms::new_with_constructor(duration),
            in_flight: Gauges::default(),
            backlog: Seconds::default(),
            nacked_age: Seconds::default(),
            nacked: Mutex::default(),
        };
        let help = "Deliveries by what became of them, and the class of the failure";
        register(to, "deliveries", help, &it.settled);
        let help = "Time from a delivery to its settlement";
        register(to, "delivery_duration_seconds", help, &it.duration);
        register(to, "deliveries_in_flight", "Deliveries that are being handled", &it.in_flight);
        let help = "How old the last delivery was when it came: what is behind it is younger";
        register(to, "backlog_age_seconds", help, &it.backlog);
        let help = "Age of the oldest message that was nacked and not handled since";
        register(to, "oldest_nacked_age_seconds", help, &it.nacked_age);
        it
    }

    /// Tells the ages as they are now.
    pub(super) fn look(&self, now: Timestamp, at: Instant) {
        for (subscription, nacked) in &mut *self.nacked.lock().expect("no holder panics") {
            nacked.retain(|_, it| it.until.is_none_or(|until| at < until));
            let oldest = nacked.values().map(|it| it.published).min();
            let oldest = oldest.map_or(0.0, |it| age(it, now));
            self.nacked_age
                .get_or_create(&[label("subscription", subscription.clone())])
                .set(oldest);
        }
    }
}

impl Metrics {
    /// Counts the deliveries of `projects/P/subscriptions/S` as those of `S`.
    pub fn deliveries(&self, subscription: &str) -> Deliveries {
        let name = subscription.rsplit('/').next().unwrap_or_default();
        let it = Deliveries { metrics: self.clone(), subscription: name.into() };
        let families = it.families();
        // A rate needs to have seen nothing before it sees something.
        families.settled.get_or_create(&it.labels("ack", None)).inc_by(0);
        for class in Class::ALL {
            families.settled.get_or_create(&it.labels("retry", Some(class))).inc_by(0);
            families.settled.get_or_create(&it.labels("dead_letter", Some(class))).inc_by(0);
        }
        drop(families.duration.get_or_create(&it.label()));
        families.in_flight.get_or_create(&it.label()).inc_by(0);
        families.backlog.get_or_create(&it.label()).inc_by(0.0);
        let mut nacked = families.nacked.lock().expect("no holder panics");
        nacked.entry(name.to_owned()).or_default();
        drop(nacked);
        it
    }
}

impl Deliveries {
    /// Counts a delivery of the message with that id that was published then.
    pub fn received(&self, id: &str, published: Timestamp) -> Received {
        let families = self.families();
        let now = (self.metrics.0.clock)();
        families.backlog.get_or_create(&self.label()).set(age(published, now));
        families.in_flight.get_or_create(&self.label()).inc();
        self.nacked(|ours| {
            if let Some(again) = ours.get_mut(id) {
                again.until = None;
            }
        });
        Received { of: self.clone(), id: id.to_owned(), published, since: Instant::now() }
    }

    fn nacked(&self, change: impl FnOnce(&mut BTreeMap<String, Nacked>)) {
        let mut nacked = self.families().nacked.lock().expect("no holder panics");
        change(nacked.entry(self.subscription.to_string()).or_default());
    }

    fn families(&self) -> &Families {
        &self.metrics.0.deliveries
    }

    fn label(&self) -> Labels<1> {
        [label("subscription", self.subscription.to_string())]
    }

    fn labels(&self, settlement: &'static str, class: Option<Class>) -> Labels<3> {
        let [subscription] = self.label();
        let class = class.map_or("none", Class::as_str);
        [subscription, label("settlement", settlement), label("class", class)]
    }
}

impl Received {
    /// Counts what becomes of it.
    pub fn settled(self, settlement: &Settlement) {
        let labels = match settlement {
            Settlement::Ack => self.of.labels("ack", None),
            Settlement::Retry(it) => self.of.labels("retry", Some(it.class())),
            Settlement::DeadLetter(it) => self.of.labels("dead_letter", Some(it.class())),
        };
        let families = self.of.families();
        families.settled.get_or_create(&labels).inc();
        let took = self.since.elapsed().as_secs_f64();
        families.duration.get_or_create(&self.of.label()).observe(took);
        match settlement {
            Settlement::Retry(_) => self.of.nacked(|ours| {
                let until = Some(Instant::now() + COMES_WITHIN);
                ours.insert(self.id.clone(), Nacked { published: self.published, until });
                if ours.len() > NACKED_MAX {
                    let youngest = ours.iter().max_by_key(|(_, it)| it.published);
                    let youngest = youngest.map(|(id, _)| id.clone());
                    youngest.and_then(|id| ours.remove(&id));
                }
            }),
            Settlement::Ack | Settlement::DeadLetter(_) => self.of.nacked(|ours| {
                ours.remove(&self.id);
            }),
        }
    }
}

impl Drop for Received {
    fn drop(&mut self) {
        let families = self.of.families();
        families.in_flight.get_or_create(&self.of.label()).dec();
        // One that nobody settled comes again as well; one that was settled is gone, or has its time.
        self.of.nacked(|ours| {
            if let Some(again) = ours.get_mut(&self.id) {
                again.until.get_or_insert_with(|| Instant::now() + COMES_WITHIN);
            }
        });
    }
}

/// Two clocks that differ make nothing younger than new.
fn age(published: Timestamp, now: Timestamp) -> f64 {
    now.duration_since(published).as_secs_f64().max(0.0)
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;
    use crate::metrics::Role;
    use crate::settlement::{Failure, Reason};

    fn now() -> Timestamp {
        Timestamp::constant(1_800_000_000, 0)
    }

    fn before(seconds: i64) -> Timestamp {
        now() - SignedDuration::from_secs(seconds)
    }

    fn retry() -> Settlement {
        Settlement::Retry(Failure { reason: Reason::Unavailable, detail: String::new() })
    }

    /// The age that a scrape so much later tells.
    fn told(metrics: &Metrics, later: Duration) -> u64 {
        let families = &metrics.0.deliveries;
        families.look(now(), Instant::now() + later);
        let age = families.nacked_age.get_or_create(&[label("subscription", "work")]).get();
        Duration::from_secs_f64(age).as_secs()
    }

    #[test]
    fn what_is_nacked_at_once_is_told_of_between_its_deliveries_until_it_is_handled() {
        let metrics = Metrics::new(Role::Worker, now);
        let work = metrics.deliveries("projects/p/subscriptions/work");
        // Whoever catches up with an old backlog has nothing that comes back.
        let old = work.received("old", before(9_000));
        assert_eq!(told(&metrics, Duration::ZERO), 0);
        old.settled(&Settlement::Ack);
        work.received("new", before(1)).settled(&retry());
        for _ in 0..2 {
            work.received("poison", before(5_000)).settled(&retry());
            assert_eq!(told(&metrics, Duration::from_mins(11)), 5_000, "its longest backoff");
        }
        let again = work.received("poison", before(5_000));
        assert_eq!(told(&metrics, Duration::from_hours(1)), 5_000, "while it is handled");
        again.settled(&Settlement::Ack);
        assert_eq!(told(&metrics, Duration::ZERO), 0, "the younger one's time was over");
    }

    #[test]
    fn what_goes_to_another_process_is_forgotten_in_time() {
        let metrics = Metrics::new(Role::Worker, now);
        let work = metrics.deliveries("projects/p/subscriptions/work");
        work.received("one", before(5_000)).settled(&retry());
        drop(work.received("one", before(5_000)));
        assert_eq!(told(&metrics, Duration::from_mins(14)), 5_000);
        assert_eq!(told(&metrics, Duration::from_mins(16)), 0);
    }

    #[test]
    fn no_more_than_the_oldest_are_kept_in_mind() {
        let metrics = Metrics::new(Role::Worker, now);
        let work = metrics.deliveries("projects/p/subscriptions/work");
        for number in 0..NACKED_MAX + 10 {
            let seconds = i64::try_from(number).unwrap();
            work.received(&number.to_string(), before(9_000 - seconds)).settled(&retry());
        }
        assert_eq!(told(&metrics, Duration::ZERO), 9_000);
        assert_eq!(metrics.0.deliveries.nacked.lock().unwrap()["work"].len(), NACKED_MAX);
    }
}
