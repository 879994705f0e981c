//! What goes wrong on the wire, by rules and a seed. Only decides: the wire applies it.

use std::time::Duration;

use fastrand::Rng;
use serde::de::{Error as _, Unexpected};
use serde::{Deserialize, Deserializer, Serialize};

/// One of the four services.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Service {
    /// Pub/Sub.
    Pubsub,
    /// Cloud Storage.
    Storage,
    /// Vertex AI.
    Vertex,
    /// GitLab.
    Gitlab,
}

/// What happens to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// The connection is closed, and nothing is done. A connection of HTTP/2 takes its other requests along.
    DropRequest,
    /// It is done, and then the connection is closed.
    DropResponse,
    /// It is done after so many milliseconds.
    DelayMs(u64),
    /// It is answered with this, and nothing is done.
    Answer {
        /// HTTP status; of gRPC, the code that Google maps to it.
        status: u16,
        /// Seconds to wait, for the header `retry-after` of HTTP.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        retry_after: Option<u64>,
    },
}

/// Which requests meet a fault.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Of which service.
    pub service: Service,
    /// HTTP method; any unless given.
    #[serde(default)]
    pub method: Option<String>,
    /// Part of the path; of gRPC, of `/package.Service/Method`.
    #[serde(default)]
    pub path: String,
    /// What happens to them.
    pub fault: Fault,
    /// So many of them are spared first.
    #[serde(default)]
    pub skip: u64,
    /// So many meet it at most; any number unless given.
    #[serde(default)]
    pub times: Option<u64>,
    /// Share of them that meets it, from 0 to 1.
    #[serde(default = "always", deserialize_with = "share")]
    pub probability: f64,
}

/// Rules in their order; the first that applies decides.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Faults {
    /// Decides who is hit where a probability does; the same seed and order of requests, the same faults.
    #[serde(default)]
    pub seed: u64,
    /// The rules.
    #[serde(default)]
    pub rules: Vec<Rule>,
}

const fn always() -> f64 {
    1.0
}

fn share<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    let number = f64::deserialize(deserializer)?;
    if (0.0..=1.0).contains(&number) {
        return Ok(number);
    }
    Err(D::Error::invalid_value(Unexpected::Float(number), &"a number from 0 to 1"))
}

/// The rules with what they have done so far.
#[derive(Debug)]
pub(crate) struct Dice {
    rng: Rng,
    rules: Vec<(Rule, Counts)>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    seen: u64,
    hit: u64,
}

impl Dice {
    pub(crate) fn new(faults: Faults) -> Self {
        let rules = faults.rules.into_iter().map(|it| (it, Counts::default())).collect();
        Self { rng: Rng::with_seed(faults.seed), rules }
    }

    /// What a request meets.
    pub(crate) fn roll(&mut self, service: Service, method: &str, path: &str) -> Option<Fault> {
        for (rule, counts) in &mut self.rules {
            let method = rule.method.as_ref().is_none_or(|it| it.eq_ignore_ascii_case(method));
            if rule.service != service || !method || !path.contains(&rule.path) {
                continue;
            }
            counts.seen += 1;
            let left = rule.times.is_none_or(|it| counts.hit < it);
            if counts.seen > rule.skip && left && self.rng.f64() < rule.probability {
                counts.hit += 1;
                return Some(rule.fault);
            }
        }
        None
    }
}

impl Fault {
    /// How long a request waits before it is done.
    pub(crate) const fn delay(self) -> Duration {
        match self {
            Self::DelayMs(time) => Duration::from_millis(time),
            Self::DropRequest | Self::DropResponse | Self::Answer { .. } => Duration::ZERO,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rule(path: &str, fault: Fault) -> Rule {
        Rule {
            service: Service::Vertex,
            method: None,
            path: path.to_owned(),
            fault,
            skip: 0,
            times: None,
            probability: 1.0,
        }
    }

    fn rolls(rules: Vec<Rule>, seed: u64, count: usize) -> Vec<Option<Fault>> {
        let mut dice = Dice::new(Faults { seed, rules });
        (0..count).map(|_| dice.roll(Service::Vertex, "POST", "/v1/customJobs")).collect()
    }

    #[test]
    fn a_rule_spares_hits_and_ends() {
        let drop = Some(Fault::DropRequest);
        let (none, some) = (None, |skip, times| Rule {
            skip,
            times: Some(times),
            ..rule("customJobs", Fault::DropRequest)
        });
        assert_eq!(rolls(vec![some(1, 2)], 0, 5), [none, drop, drop, none, none]);
        let other = Rule { service: Service::Gitlab, ..rule("", Fault::DropRequest) };
        let get = Rule { method: Some("GET".to_owned()), ..rule("", Fault::DropRequest) };
        let elsewhere = rule("pipelineJobs", Fault::DropRequest);
        assert_eq!(rolls(vec![other, get, elsewhere], 0, 1), [none]);
        let first = some(0, 1);
        let second = rule("", Fault::DelayMs(5));
        assert_eq!(rolls(vec![first, second], 0, 2), [drop, Some(Fault::DelayMs(5))]);
    }

    #[test]
    fn a_rule_is_read_strictly() {
        let read = |rule: serde_json::Value| {
            let read = serde_json::from_value::<Rule>(rule).map_err(|error| error.to_string());
            read.map(|it| (it.fault, it.probability))
        };
        let answer = json!({"answer": {"status": 429, "retry_after": 3}});
        let expected = Fault::Answer { status: 429, retry_after: Some(3) };
        assert_eq!(read(json!({"service": "vertex", "fault": answer})), Ok((expected, 1.0)));
        let cases = [
            (json!({"fault": "drop_request"}), "missing field `service`"),
            (json!({"service": "vertex", "fault": "drop"}), "unknown variant `drop`"),
            (
                json!({"service": "vertex", "fault": "drop_request", "tims": 1}),
                "unknown field `tims`",
            ),
            (
                json!({"service": "vertex", "fault": "drop_request", "probability": 3}),
                "expected a number from 0 to 1",
            ),
        ];
        for (rule, expected) in cases {
            let refused = read(rule).unwrap_err();
            assert!(refused.contains(expected), "{refused}");
        }
    }

    #[test]
    fn a_seed_decides_who_is_hit() {
        let some = || vec![Rule { probability: 0.3, ..rule("", Fault::DropResponse) }];
        let hits = rolls(some(), 7, 10_000);
        assert_eq!(rolls(some(), 7, 10_000), hits);
        assert_ne!(rolls(some(), 8, 10_000), hits);
        let count = hits.iter().flatten().count();
        assert!((2_800..3_200).contains(&count), "{count}");
    }
}
