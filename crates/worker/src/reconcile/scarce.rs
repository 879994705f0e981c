//! Quota for machines that Vertex AI has refused, and who asks for it next. Pure.
//!
//! A refusal that names metrics parks every run with the same need. One of
//! them asks again when the metrics' pause is over; needs that share a metric
//! take turns at that, so that what can never be had holds nothing up.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::need::Need;

/// Pauses, in rounds.
const PAUSE_MIN: u32 = 5;
const PAUSE_MAX: u32 = 600;
/// As many metrics as one refusal may name.
const METRICS_MAX: usize = 16;

/// The metrics of one domain that were refused, and the needs that wait for them.
#[derive(Clone, Debug)]
pub(super) struct Scarce {
    round: Duration,
    metrics: BTreeMap<String, Metric>,
    needs: BTreeMap<Need, Lack>,
}

#[derive(Clone, Debug, Default)]
struct Metric {
    closed_until: Duration,
    /// Refusals in a row.
    refusals: u32,
    /// How many may ask in one round; doubles with each that gets what it wants.
    at_once: u32,
}

#[derive(Clone, Debug)]
struct Lack {
    metrics: Vec<String>,
    refused_at: Duration,
}

impl Scarce {
    /// Nothing is, with rounds of that length.
    pub(super) const fn new(round: Duration) -> Self {
        Self { round, metrics: BTreeMap::new(), needs: BTreeMap::new() }
    }

    /// The metrics that a need waits for.
    pub(super) fn lacked_by(&self, need: &Need) -> Option<&[String]> {
        self.needs.get(need).map(|it| it.metrics.as_slice())
    }

    /// Whether the need was refused at that time or later.
    pub(super) fn refused_since(&self, need: &Need, since: Duration) -> bool {
        self.needs.get(need).is_some_and(|it| it.refused_at >= since)
    }

    /// A run with that need was refused for want of these metrics.
    pub(super) fn refused(
        &mut self,
        need: &Need,
        mut metrics: Vec<String>,
        (now, retry_after): (Duration, Option<Duration>),
    ) {
        metrics.truncate(METRICS_MAX);
        for name in &metrics {
            let metric = self.metrics.entry(name.clone()).or_default();
            metric.at_once = 1;
            if now < metric.closed_until && retry_after.is_none() {
                // It was on its way when another one was refused.
                continue;
            }
            let doubled = PAUSE_MIN * 2_u32.pow(metric.refusals.min(16));
            let pause = retry_after.unwrap_or(self.round * doubled).min(self.round * PAUSE_MAX);
            metric.closed_until = metric.closed_until.max(now + pause);
            metric.refusals += 1;
        }
        self.needs.insert(need.clone(), Lack { metrics, refused_at: now });
    }

    /// A run with that need got what it asked for: the next may ask at once.
    pub(super) fn accepted(&mut self, need: &Need) {
        for name in self.needs.get(need).iter().flat_map(|it| &it.metrics) {
            if let Some(metric) = self.metrics.get_mut(name) {
                let at_once = metric.at_once.saturating_mul(2);
                *metric = Metric { at_once, ..Metric::default() };
            }
        }
    }

    /// Forgets what nobody waits for.
    pub(super) fn keep(&mut self, waiting: &BTreeSet<&Need>) {
        self.needs.retain(|need, _| waiting.contains(need));
        let used: BTreeSet<&String> = self.needs.values().flat_map(|it| &it.metrics).collect();
        self.metrics.retain(|name, _| used.contains(name));
    }

    /// How many runs of each of these needs may ask now. Who was refused last comes last.
    pub(super) fn askers<'a>(
        &'a self,
        ready: &BTreeSet<&Need>,
        now: Duration,
    ) -> BTreeMap<&'a Need, u32> {
        let open = self.metrics.iter().filter(|(_, it)| it.closed_until <= now);
        let mut left: BTreeMap<&String, u32> = open.map(|(name, it)| (name, it.at_once)).collect();
        let ready = self.needs.iter().filter(|(need, _)| ready.contains(need));
        let mut needs: Vec<(&Need, &Lack)> = ready.collect();
        needs.sort_by_key(|(_, lack)| lack.refused_at);
        let ask = |(need, lack): (_, &Lack)| {
            let least = lack.metrics.iter().map(|it| left.get(it).copied().unwrap_or(0)).min();
            let count = least.unwrap_or(0);
            for name in &lack.metrics {
                if let Some(left) = left.get_mut(name) {
                    *left -= count;
                }
            }
            (need, count)
        };
        needs.into_iter().map(ask).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{custom_job, request};

    const SEC: Duration = Duration::from_secs(1);

    fn gpus(count: u32) -> Need {
        let mut training = custom_job();
        training["custom_job"]["jobSpec"]["workerPoolSpecs"][0]["replicaCount"] = count.into();
        Need::of(&request(&training).training)
    }

    fn refused(scarce: &mut Scarce, need: &Need, metrics: &[&str], at: u64) {
        let metrics = metrics.iter().map(|it| (*it).to_owned()).collect();
        scarce.refused(need, metrics, (SEC * u32::try_from(at).unwrap(), None));
    }

    /// How many of each need may ask at that second.
    fn askers<const N: usize>(scarce: &Scarce, needs: [&Need; N], at: u64) -> [u32; N] {
        let ready = BTreeSet::from(needs);
        let askers = scarce.askers(&ready, Duration::from_secs(at));
        needs.map(|it| askers[it])
    }

    #[test]
    fn one_asks_at_a_time_and_the_pauses_grow() {
        let (mut scarce, need) = (Scarce::new(SEC), gpus(1));
        refused(&mut scarce, &need, &["t4"], 0);
        refused(&mut scarce, &need, &["t4"], 1);
        assert_eq!(
            [4, 5].map(|at| askers(&scarce, [&need], at)),
            [[0], [1]],
            "the second came along"
        );
        refused(&mut scarce, &need, &["t4"], 5);
        assert_eq!([14, 15].map(|at| askers(&scarce, [&need], at)), [[0], [1]]);
        scarce.refused(&need, vec!["t4".to_owned()], (SEC * 15, Some(SEC * 40)));
        assert_eq!([54, 55].map(|at| askers(&scarce, [&need], at)), [[0], [1]], "as asked for");
        for at in 1..20 {
            refused(&mut scarce, &need, &["t4"], at * 1_000);
        }
        let longest = [19_599, 19_600].map(|at| askers(&scarce, [&need], at));
        assert_eq!(longest, [[0], [1]]);
    }

    #[test]
    fn who_gets_it_lets_the_next_ask_at_once_and_more_of_them_each_time() {
        let (mut scarce, need) = (Scarce::new(SEC), gpus(1));
        refused(&mut scarce, &need, &["t4"], 0);
        let mut allowed = Vec::new();
        for _ in 0..3 {
            scarce.accepted(&need);
            allowed.extend(askers(&scarce, [&need], 5));
        }
        assert_eq!(allowed, [2, 4, 8]);
        refused(&mut scarce, &need, &["t4"], 5);
        assert_eq!([9, 10].map(|at| askers(&scarce, [&need], at)), [[0], [1]]);
    }

    #[test]
    fn what_can_never_be_had_takes_turns_with_what_can() {
        let (mut scarce, one, eight) = (Scarce::new(SEC), gpus(1), gpus(8));
        refused(&mut scarce, &eight, &["t4"], 0);
        refused(&mut scarce, &one, &["t4"], 1);
        assert_eq!(askers(&scarce, [&one, &eight], 5), [0, 1]);
        refused(&mut scarce, &eight, &["t4"], 5);
        assert_eq!(askers(&scarce, [&one, &eight], 15), [1, 0]);
        scarce.accepted(&one);
        assert_eq!(askers(&scarce, [&one, &eight], 16), [2, 0], "while it is had, it goes on");
        assert_eq!(askers(&scarce, [&eight], 16), [2], "and nobody waits for who has to wait");
    }

    #[test]
    fn each_metric_has_its_own_pause_and_a_need_of_two_waits_for_both() {
        let (mut scarce, a, b, both) = (Scarce::new(SEC), gpus(1), gpus(2), gpus(3));
        refused(&mut scarce, &a, &["t4"], 0);
        refused(&mut scarce, &b, &["a100"], 2);
        assert_eq!(askers(&scarce, [&a, &b], 6), [1, 0]);
        refused(&mut scarce, &both, &["a100", "t4"], 7);
        assert_eq!(scarce.lacked_by(&both).unwrap(), ["a100", "t4"]);
        assert_eq!(askers(&scarce, [&a, &b, &both], 16), [0, 0, 0]);
        assert_eq!(askers(&scarce, [&a, &b, &both], 17), [1, 1, 0]);
        assert_eq!(askers(&scarce, [&both], 17), [1]);
        scarce.keep(&BTreeSet::from([&b]));
        assert_eq!(scarce.lacked_by(&a), None);
        assert_eq!(scarce.metrics.keys().collect::<Vec<_>>(), ["a100"]);
    }
}
