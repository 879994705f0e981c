//! Deliveries: how many, what became of them, how long they took and how old they are.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use jiff::Timestamp;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use tokio::time::Instant;

use super::{Counters, Gauges, Histograms, Labels, Metrics, Seconds, label, register};
use crate::settlement::{Class, Settlement};

/// From a look into the ledger to a large object that is read and hashed.
const BUCKETS: [f64; 13] =
    [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 300.0, 1800.0];

pub(super) struct Families {
    settled: Counters<3>,
    duration: Histograms<1>,
    in_flight: Gauges<1>,
    backlog: Seconds<1>,
    unacked: Seconds<1>,
    /// When what is in flight was published, by subscription and a number of ours.
    outstanding: Mutex<BTreeMap<String, BTreeMap<u64, Timestamp>>>,
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
    number: u64,
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
            unacked: Seconds::default(),
            outstanding: Mutex::default(),
        };
        let help = "Deliveries by what became of them, and the class of the failure";
        register(to, "deliveries", help, &it.settled);
        let help = "Time from a delivery to its settlement";
        register(to, "delivery_duration_seconds", help, &it.duration);
        register(to, "deliveries_in_flight", "Deliveries that are being handled", &it.in_flight);
        let help = "How old the last delivery was when it came: what is behind it is younger";
        register(to, "backlog_age_seconds", help, &it.backlog);
        let help = "Age of the oldest message that is being handled and not acknowledged";
        register(to, "oldest_unacked_age_seconds", help, &it.unacked);
        it
    }

    /// Tells the ages as they are now.
    pub(super) fn look(&self, now: Timestamp) {
        for (subscription, published) in &*self.outstanding.lock().expect("no holder panics") {
            let oldest = published.values().min().map_or(0.0, |it| age(*it, now));
            self.unacked.get_or_create(&[label("subscription", subscription.clone())]).set(oldest);
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
        let mut outstanding = families.outstanding.lock().expect("no holder panics");
        outstanding.entry(name.to_owned()).or_default();
        drop(outstanding);
        it
    }
}

impl Deliveries {
    /// Counts a delivery of a message that was published then.
    pub fn received(&self, published: Timestamp) -> Received {
        let families = self.families();
        let now = (self.metrics.0.clock)();
        families.backlog.get_or_create(&self.label()).set(age(published, now));
        families.in_flight.get_or_create(&self.label()).inc();
        let mut outstanding = families.outstanding.lock().expect("no holder panics");
        let ours = outstanding.entry(self.subscription.to_string()).or_default();
        let number = ours.last_key_value().map_or(0, |(last, _)| last + 1);
        ours.insert(number, published);
        Received { of: self.clone(), number, since: Instant::now() }
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
    }
}

impl Drop for Received {
    fn drop(&mut self) {
        let families = self.of.families();
        families.in_flight.get_or_create(&self.of.label()).dec();
        let mut outstanding = families.outstanding.lock().expect("no holder panics");
        if let Some(ours) = outstanding.get_mut(&*self.of.subscription) {
            ours.remove(&self.number);
        }
    }
}

/// Two clocks that differ make nothing younger than new.
fn age(published: Timestamp, now: Timestamp) -> f64 {
    now.duration_since(published).as_secs_f64().max(0.0)
}
