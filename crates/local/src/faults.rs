//! What goes wrong in the stack, by rules and a seed. Only decides: the wire and
//! the services apply it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use fastrand::Rng;
use serde::de::{Error as _, Unexpected};
use serde::{Deserialize, Deserializer, Serialize};

/// The longest that anything is held up.
const TIME_MAX: Duration = Duration::from_hours(1);
/// What Google counts calls by.
const MINUTE: Duration = Duration::from_mins(1);

/// One of the services.
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
    /// Google's IAM, STS and what else knows who somebody is.
    Iam,
    /// Cloud Logging.
    Logging,
}

/// What goes wrong. Times are milliseconds, up to an hour.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// Of a request: the connection is closed, and nothing is done. A connection of HTTP/2 takes its other requests along.
    DropRequest,
    /// Of a request: it is done, and then the connection is closed.
    DropResponse,
    /// Of a request: the connection is reset, and nothing is done.
    Reset,
    /// Of a request: it is done after so long.
    #[serde(deserialize_with = "milliseconds")]
    DelayMs(u64),
    /// Of a request: it is answered with this, and nothing is done.
    Answer {
        /// HTTP status from 400 to 599; of gRPC, the code that Google maps to it.
        #[serde(deserialize_with = "status")]
        status: u16,
        /// Seconds to wait: `retry-after`, and `RetryInfo` of Google's services.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        retry_after: Option<u32>,
        /// Name of Google's code, like `FAILED_PRECONDITION`; the one that goes with the status, unless given.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        code: Option<String>,
        /// What it says; that it was asked for, unless given.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        message: Option<String>,
    },
    /// Of a request: beyond so many within any minute it is answered with 429, and nothing is done.
    QuotaPerMinute(usize),
    /// Of a Pub/Sub delivery: another subscriber gets the message too, and only the last ack counts.
    Duplicate,
    /// Of a Pub/Sub delivery: it is held back so long, and others overtake it.
    #[serde(deserialize_with = "milliseconds")]
    ReorderMs(u64),
    /// Of a Pub/Sub delivery: its lease is over at once, and it counts as a failed attempt.
    ExpireLease,
    /// Of a Pub/Sub ack: it is lost, and the message is delivered again after so long.
    #[serde(deserialize_with = "milliseconds")]
    RedeliverLateMs(u64),
    /// Of a new Vertex AI job: lists do not show it for so long.
    #[serde(deserialize_with = "milliseconds")]
    ListLagMs(u64),
    /// Of a Vertex AI job that starts: it is PAUSED for so long first.
    #[serde(deserialize_with = "milliseconds")]
    PauseMs(u64),
    /// Of a Vertex AI job that ends: it ends so, whatever its processes and cancel calls have made of it.
    EndAs {
        /// Its state.
        state: Final,
        /// Code of `google.rpc.Code` and message of its error; none unless given.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        error: Option<(i32, String)>,
    },
}

/// A state in which a job can end. Pipelines of either kind know neither of the last two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Final {
    /// `SUCCEEDED`.
    Succeeded,
    /// `FAILED`.
    Failed,
    /// `CANCELLED`.
    Cancelled,
    /// `PARTIALLY_SUCCEEDED`.
    PartiallySucceeded,
    /// `EXPIRED`.
    Expired,
}

/// What a fault can happen to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moment {
    Request,
    Delivery,
    Ack,
    JobCreated,
    JobStarts,
    JobEnds,
}

/// To what and how often a fault happens.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Of which service.
    pub service: Service,
    /// HTTP method of requests; any unless given.
    #[serde(default)]
    pub method: Option<String>,
    /// Part of a request's path (of gRPC, of `/package.Service/Method`), or of the name of a subscription or job.
    #[serde(default)]
    pub path: String,
    /// Part of the body of a create call of Vertex AI, as JSON without white space.
    #[serde(default)]
    pub body: String,
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
    #[serde(default, deserialize_with = "checked")]
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

fn milliseconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let number = u64::deserialize(deserializer)?;
    if Duration::from_millis(number) <= TIME_MAX {
        return Ok(number);
    }
    Err(D::Error::invalid_value(Unexpected::Unsigned(number), &"milliseconds up to an hour"))
}

fn status<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u16, D::Error> {
    let number = u16::deserialize(deserializer)?;
    if (400..600).contains(&number) {
        return Ok(number);
    }
    Err(D::Error::invalid_value(Unexpected::Unsigned(number.into()), &"a status from 400 to 599"))
}

fn checked<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Rule>, D::Error> {
    let rules = Vec::<Rule>::deserialize(deserializer)?;
    for Rule { service, method, body, fault, .. } in &rules {
        let moment = fault.moment();
        let fits = match moment {
            Moment::Request => true,
            Moment::Delivery | Moment::Ack => *service == Service::Pubsub,
            Moment::JobCreated | Moment::JobStarts | Moment::JobEnds => *service == Service::Vertex,
        };
        if !body.is_empty() && *service != Service::Vertex {
            return Err(D::Error::custom("only bodies of the service \"vertex\" are looked at"));
        }
        let of_requests = method.is_some() || !body.is_empty();
        let fault = json(fault);
        if !fits {
            let service = json(service);
            return Err(D::Error::custom(format!("{fault} is no fault of the service {service}")));
        }
        if of_requests && moment != Moment::Request {
            return Err(D::Error::custom(format!(
                "{fault} is no fault of a request, which have methods and bodies"
            )));
        }
    }
    Ok(rules)
}

/// As it is written in a rule.
fn json(it: impl Serialize) -> serde_json::Value {
    serde_json::to_value(it).expect("names and numbers are JSON")
}

/// The rules with what they have done so far, shared by the wire and the services. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Dice(Arc<Mutex<Rolled>>);

#[derive(Debug)]
struct Rolled {
    rng: Rng,
    rules: Vec<(Rule, Counts)>,
}

impl Default for Dice {
    /// Nothing goes wrong.
    fn default() -> Self {
        Self::new(Faults::default())
    }
}

#[derive(Debug, Default)]
struct Counts {
    seen: u64,
    hit: u64,
    /// What a quota let through within the last minute.
    lately: VecDeque<Instant>,
}

impl Dice {
    /// Nothing has happened yet.
    pub fn new(faults: Faults) -> Self {
        Self(Arc::new(Mutex::new(Rolled::new(faults))))
    }

    /// Goes on with other rules, as if from the start.
    pub fn set(&self, faults: Faults) {
        *self.rolled() = Rolled::new(faults);
    }

    /// How often each rule has happened.
    pub fn hits(&self) -> Vec<u64> {
        self.rolled().rules.iter().map(|(_, counts)| counts.hit).collect()
    }

    /// Whether any rule looks at bodies.
    pub(crate) fn looks_at_bodies(&self) -> bool {
        self.rolled().rules.iter().any(|(rule, _)| !rule.body.is_empty())
    }

    /// What a request meets.
    pub(crate) fn request(
        &self,
        service: Service,
        method: &str,
        path: &str,
        body: &str,
    ) -> Option<Fault> {
        self.roll(Moment::Request, path, |rule| {
            let method = rule.method.as_ref().is_none_or(|it| it.eq_ignore_ascii_case(method));
            rule.service == service && method && body.contains(&rule.body)
        })
    }

    /// What anything else meets: a subscription's messages, a job.
    pub(crate) fn meets(&self, moment: Moment, name: &str) -> Option<Fault> {
        self.roll(moment, name, |_| true)
    }

    fn roll(&self, moment: Moment, path: &str, applies: impl Fn(&Rule) -> bool) -> Option<Fault> {
        let mut rolled = self.rolled();
        let Rolled { rng, rules } = &mut *rolled;
        for (rule, counts) in rules {
            if rule.fault.moment() != moment || !applies(rule) || !path.contains(&rule.path) {
                continue;
            }
            counts.seen += 1;
            let left = rule.times.is_none_or(|it| counts.hit < it);
            let unlucky = counts.seen > rule.skip && left && rng.f64() < rule.probability;
            if unlucky
                && !matches!(rule.fault, Fault::QuotaPerMinute(most) if counts.fits(most, Instant::now()))
            {
                counts.hit += 1;
                return Some(rule.fault.clone());
            }
        }
        None
    }

    fn rolled(&self) -> MutexGuard<'_, Rolled> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Rolled {
    fn new(faults: Faults) -> Self {
        let rules = faults.rules.into_iter().map(|it| (it, Counts::default())).collect();
        Self { rng: Rng::with_seed(faults.seed), rules }
    }
}

impl Counts {
    /// Whether one more is within the quota of a minute; if so, it is counted.
    fn fits(&mut self, most: usize, now: Instant) -> bool {
        while self.lately.front().is_some_and(|it| *it + MINUTE <= now) {
            self.lately.pop_front();
        }
        let fits = self.lately.len() < most;
        if fits {
            self.lately.push_back(now);
        }
        fits
    }
}

impl Fault {
    const fn moment(&self) -> Moment {
        match self {
            Self::DropRequest
            | Self::DropResponse
            | Self::Reset
            | Self::DelayMs(_)
            | Self::Answer { .. }
            | Self::QuotaPerMinute(_) => Moment::Request,
            Self::Duplicate | Self::ReorderMs(_) | Self::ExpireLease => Moment::Delivery,
            Self::RedeliverLateMs(_) => Moment::Ack,
            Self::ListLagMs(_) => Moment::JobCreated,
            Self::PauseMs(_) => Moment::JobStarts,
            Self::EndAs { .. } => Moment::JobEnds,
        }
    }
}

#[cfg(test)]
mod tests;
