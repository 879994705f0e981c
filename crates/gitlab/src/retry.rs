//! Bounded retries of one call. The only place that uses `backoff`.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use backoff::future::retry;
use backoff::{Error as Verdict, ExponentialBackoff};
use reqwest::Method;
use reqwest::header::{HeaderMap, RETRY_AFTER};

use crate::error::{Class, Error};

const ATTEMPTS_MAX: u32 = 5;
/// A longer wait belongs to the subscription that brought the message, not to a call.
const TIME_MAX: Duration = Duration::from_secs(30);

/// Why one attempt failed.
pub(crate) struct Failure {
    pub(crate) error: Error,
    /// Whether GitLab may have acted on it.
    pub(crate) sent: bool,
    /// How long GitLab wants to be left alone.
    pub(crate) retry_after: Option<Duration>,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self { error, sent: true, retry_after: None }
    }
}

/// Repeats what failed for a passing reason. A POST is repeated only when
/// GitLab certainly did nothing: a second note or status is worse than an error.
pub(crate) async fn bounded<T, F>(method: &Method, attempt: impl Fn() -> F) -> Result<T, Error>
where
    F: Future<Output = Result<T, Failure>>,
{
    let policy = ExponentialBackoff {
        initial_interval: Duration::from_millis(200),
        multiplier: 2.0,
        max_interval: Duration::from_secs(5),
        max_elapsed_time: Some(TIME_MAX),
        ..ExponentialBackoff::default()
    };
    let (start, mut attempts) = (Instant::now(), 0);
    retry(policy, || {
        attempts += 1;
        let last = attempts == ATTEMPTS_MAX;
        let answer = attempt();
        async move {
            let left = TIME_MAX.saturating_sub(start.elapsed());
            answer.await.map_err(|failure| {
                if !last && repeats(method, &failure, left) {
                    Verdict::Transient { err: failure.error, retry_after: failure.retry_after }
                } else {
                    Verdict::Permanent(failure.error)
                }
            })
        }
    })
    .await
}

/// Whether to repeat it in the time that is left.
fn repeats(method: &Method, failure: &Failure, left: Duration) -> bool {
    let passing = match failure.error.class() {
        Class::Transient => true,
        Class::Permission | Class::NotFound | Class::Refused => false,
    };
    let harmless = method.is_idempotent() || !failure.sent;
    passing && harmless && failure.retry_after.is_none_or(|it| it < left)
}

/// `Retry-After` in seconds, or else the time until `RateLimit-Reset`; limits
/// inside GitLab's application answer 429 with neither.
pub(crate) fn wanted_wait(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let seconds = |name: &str| headers.get(name)?.to_str().ok()?.trim().parse().ok();
    let until = |reset: u64| {
        let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        Duration::from_secs(reset).saturating_sub(now)
    };
    let used_up = || seconds("ratelimit-remaining").is_some_and(|it: u64| it == 0);
    let after = seconds(RETRY_AFTER.as_str()).map(Duration::from_secs);
    after.or_else(|| seconds("ratelimit-reset").filter(|_| used_up()).map(until))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gitlab_names_the_wait_in_two_ways_or_not_at_all() {
        type Headers = &'static [(&'static str, &'static str)];
        let now = UNIX_EPOCH + Duration::from_secs(1_000);
        let cases: [(Headers, Option<u64>); 6] = [
            (&[("retry-after", "7"), ("ratelimit-reset", "1060")], Some(7)),
            (&[("ratelimit-reset", "1060"), ("ratelimit-remaining", "0")], Some(60)),
            (&[("ratelimit-reset", "990"), ("ratelimit-remaining", "0")], Some(0)),
            (&[("ratelimit-reset", "1060"), ("ratelimit-remaining", "5")], None),
            (&[("retry-after", "soon")], None),
            (&[], None),
        ];
        for (headers, expected) in cases {
            let map =
                headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
            let actual = wanted_wait(&map.collect(), now);
            assert_eq!(actual, expected.map(Duration::from_secs), "{headers:?}");
        }
    }

    #[test]
    fn only_what_passes_and_cannot_happen_twice_is_repeated() {
        let failure = |status, sent, seconds: Option<u64>| Failure {
            error: Error::Status { call: "c", status, message: String::new() },
            sent,
            retry_after: seconds.map(Duration::from_secs),
        };
        let cases = [
            ("a read meets a 503", Method::GET, failure(503, true, None), true),
            ("an update meets a 503", Method::PUT, failure(503, true, None), true),
            ("a creation meets a 503", Method::POST, failure(503, true, None), false),
            ("a creation meets a lock", Method::POST, failure(409, false, None), true),
            ("a short wait is wanted", Method::POST, failure(429, false, Some(9)), true),
            ("a long wait is wanted", Method::GET, failure(429, false, Some(10)), false),
            ("a right is missing", Method::GET, failure(403, true, None), false),
            ("nothing is there", Method::GET, failure(404, true, None), false),
            ("the request is wrong", Method::GET, failure(400, true, None), false),
        ];
        for (name, method, failure, expected) in cases {
            let repeated = repeats(&method, &failure, Duration::from_secs(10));
            assert_eq!(repeated, expected, "{name}");
        }
    }
}
