//! A subscription's settings: checked once, then in a form that decides.

use std::time::Duration;

use googleapis_tonic_google_pubsub_v1::google::pubsub::v1::{PushConfig, Subscription};

use super::error::{Error, Result, invalid};
use super::filter::Filter;
use super::name::Name;

const DAY: u64 = 24 * 60 * 60;
const ACK_DEADLINE_DEFAULT: i32 = 10;
const BACKOFF_MIN_DEFAULT: Duration = Duration::from_secs(10);
const BACKOFF_MAX: Duration = Duration::from_mins(10);
const RETENTION_DEFAULT: Duration = Duration::from_secs(7 * DAY);
const RETENTION_MIN: Duration = Duration::from_mins(10);
const RETENTION_MAX: Duration = Duration::from_secs(31 * DAY);

/// What the queue needs to know of a subscription.
#[derive(Clone, Debug)]
pub(super) struct Policy {
    pub(super) ack_deadline: Duration,
    pub(super) retention: Duration,
    pub(super) ordered: bool,
    pub(super) filter: Option<Filter>,
    /// Shortest and longest pause before a redelivery; none means at once.
    pub(super) backoff: Option<(Duration, Duration)>,
    pub(super) dead_letter: Option<DeadLetter>,
}

/// Where a message goes after how many failed deliveries.
#[derive(Clone, Debug)]
pub(super) struct DeadLetter {
    pub(super) topic: Name,
    pub(super) attempts_max: u32,
}

impl Policy {
    /// Checks a subscription as a client sent it, and fills in what the service would.
    pub(super) fn adopt(subscription: &mut Subscription) -> Result<Self> {
        refuse_unsupported(subscription)?;
        if subscription.ack_deadline_seconds == 0 {
            subscription.ack_deadline_seconds = ACK_DEADLINE_DEFAULT;
        }
        let retention = subscription
            .message_retention_duration
            .get_or_insert_with(|| to_wire(RETENTION_DEFAULT));
        let retention =
            within("message_retention_duration", *retention, RETENTION_MIN, RETENTION_MAX)?;
        Ok(Self {
            ack_deadline: ack_deadline(subscription.ack_deadline_seconds)?,
            retention,
            ordered: subscription.enable_message_ordering,
            filter: match subscription.filter.as_str() {
                "" => None,
                text => Some(Filter::parse(text)?),
            },
            backoff: backoff(subscription)?,
            dead_letter: dead_letter(subscription)?,
        })
    }

    /// The pause before the delivery that follows the given number of failures.
    pub(super) fn pause(&self, failures: u32) -> Duration {
        self.backoff.map_or(Duration::ZERO, |(min, max)| {
            let doublings = failures.saturating_sub(1).min(16);
            (min * 2_u32.pow(doublings)).min(max)
        })
    }
}

/// The time a delivery may stay unanswered, as clients state it.
pub(in super::super) fn ack_deadline(seconds: i32) -> Result<Duration> {
    match u64::try_from(seconds) {
        Ok(seconds @ 10..=600) => Ok(Duration::from_secs(seconds)),
        _ => invalid(format!(
            "Invalid ack deadline given (ack_deadline_seconds={seconds}): it must be between 10 and 600."
        )),
    }
}

fn refuse_unsupported(subscription: &Subscription) -> Result<()> {
    let pushes = subscription.push_config.as_ref().is_some_and(|it| *it != PushConfig::default());
    let unsupported = [
        (pushes, "push subscriptions"),
        (subscription.bigquery_config.is_some(), "BigQuery subscriptions"),
        (subscription.cloud_storage_config.is_some(), "Cloud Storage subscriptions"),
        (subscription.bigtable_config.is_some(), "Bigtable subscriptions"),
        (!subscription.message_transforms.is_empty(), "message transforms"),
        (subscription.retain_acked_messages, "retaining acknowledged messages"),
        (subscription.enable_exactly_once_delivery, "exactly-once delivery"),
    ];
    match unsupported.into_iter().find(|(asked, _)| *asked) {
        Some((_, what)) => Err(Error::Unimplemented(what)),
        None => Ok(()),
    }
}

fn backoff(subscription: &mut Subscription) -> Result<Option<(Duration, Duration)>> {
    let Some(retry) = subscription.retry_policy.as_mut() else {
        return Ok(None);
    };
    let min = *retry.minimum_backoff.get_or_insert_with(|| to_wire(BACKOFF_MIN_DEFAULT));
    let max = *retry.maximum_backoff.get_or_insert_with(|| to_wire(BACKOFF_MAX));
    let min = within("minimum_backoff", min, Duration::ZERO, BACKOFF_MAX)?;
    let max = within("maximum_backoff", max, Duration::ZERO, BACKOFF_MAX)?;
    if min > max {
        return invalid("The minimum_backoff must not be greater than the maximum_backoff.");
    }
    Ok(Some((min, max)))
}

fn dead_letter(subscription: &mut Subscription) -> Result<Option<DeadLetter>> {
    let Some(policy) = subscription.dead_letter_policy.as_mut() else {
        return Ok(None);
    };
    let topic = Name::topic(&policy.dead_letter_topic)?;
    if policy.max_delivery_attempts == 0 {
        policy.max_delivery_attempts = 5;
    }
    match u32::try_from(policy.max_delivery_attempts) {
        Ok(attempts_max @ 5..=100) => Ok(Some(DeadLetter { topic, attempts_max })),
        _ => Err(Error::OutOfRange(format!(
            "The value for max_delivery_attempts is {}, but it must be between 5 and 100.",
            policy.max_delivery_attempts
        ))),
    }
}

fn within(
    field: &str,
    value: prost_types::Duration,
    min: Duration,
    max: Duration,
) -> Result<Duration> {
    match Duration::try_from(value) {
        Ok(value) if (min..=max).contains(&value) => Ok(value),
        _ => invalid(format!(
            "Invalid {field} given: it must be between {} and {} seconds.",
            min.as_secs(),
            max.as_secs()
        )),
    }
}

fn to_wire(duration: Duration) -> prost_types::Duration {
    prost_types::Duration { seconds: duration.as_secs().cast_signed(), nanos: 0 }
}
