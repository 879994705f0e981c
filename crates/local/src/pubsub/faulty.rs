//! Deliveries and acks that go wrong, as at-least-once delivery allows.

use std::time::Duration;

use googleapis_tonic_google_pubsub_v1::google::pubsub::v1::ReceivedMessage;
use jiff::Timestamp;

use super::core::{Core, Error};
use crate::faults::{Dice, Fault, Moment};

/// What of the leased messages reaches the subscriber.
pub(super) fn deliver(
    dice: &Dice,
    core: &mut Core,
    now: Timestamp,
    subscription: &str,
    messages: Vec<ReceivedMessage>,
) -> Result<Vec<ReceivedMessage>, Error> {
    let mut delivered = Vec::with_capacity(messages.len());
    for message in messages {
        let ack_id = std::slice::from_ref(&message.ack_id);
        match dice.meets(Moment::Delivery, subscription) {
            Some(Fault::Duplicate) => core.give_back(subscription, ack_id, now)?,
            Some(Fault::ExpireLease) => core.modify_ack_deadline(now, subscription, ack_id, 0)?,
            Some(Fault::ReorderMs(time)) => {
                core.give_back(subscription, ack_id, now + Duration::from_millis(time))?;
                continue;
            }
            _ => {}
        }
        delivered.push(message);
    }
    Ok(delivered)
}

/// Acknowledges, as far as the acks are not lost.
pub(super) fn acknowledge(
    dice: &Dice,
    core: &mut Core,
    now: Timestamp,
    subscription: &str,
    ack_ids: &[String],
) -> Result<(), Error> {
    let mut arrived = Vec::with_capacity(ack_ids.len());
    for ack_id in ack_ids {
        if let Some(Fault::RedeliverLateMs(time)) = dice.meets(Moment::Ack, subscription) {
            let until = now + Duration::from_millis(time);
            core.give_back(subscription, std::slice::from_ref(ack_id), until)?;
        } else {
            arrived.push(ack_id.clone());
        }
    }
    if arrived.is_empty() && !ack_ids.is_empty() {
        return Ok(());
    }
    core.acknowledge(subscription, &arrived)
}
