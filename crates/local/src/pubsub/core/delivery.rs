//! Publishing, pulling, acknowledging: what happens to messages.

use std::sync::Arc;
use std::time::Duration;

use googleapis_tonic_google_pubsub_v1::google::pubsub::v1::streaming_pull_response::SubscriptionProperties;
use googleapis_tonic_google_pubsub_v1::google::pubsub::v1::{
    PublishRequest, PublishResponse, PubsubMessage, ReceivedMessage, SeekRequest,
    StreamingPullRequest, seek_request,
};
use jiff::Timestamp;

use super::error::{Error, Result, invalid};
use super::name::Name;
use super::queue::{Delivered, Demand, Flow, Lease};
use super::{Core, Record, message, policy};

/// Messages in one answer, whatever the client asks for.
const MESSAGES_MAX: usize = 1_000;
const ACK_DEADLINE_SECONDS_MAX: u64 = 600;

impl Core {
    pub(in super::super) fn publish(
        &mut self,
        now: Timestamp,
        request: PublishRequest,
    ) -> Result<PublishResponse> {
        self.topic(&request.topic)?;
        message::check(&request.messages)?;
        Ok(PublishResponse { message_ids: self.take_in(now, request.topic, request.messages) })
    }

    /// Gives messages their ids and time, and queues them for every subscription of the topic.
    fn take_in(
        &mut self,
        now: Timestamp,
        topic: String,
        messages: Vec<PubsubMessage>,
    ) -> Vec<String> {
        let mut ids = Vec::with_capacity(messages.len());
        let messages = messages
            .into_iter()
            .map(|mut message| {
                message.message_id = self.next_message.to_string();
                message.publish_time = Some(message::to_wire(now));
                self.next_message += 1;
                ids.push(message.message_id.clone());
                Arc::new(message)
            })
            .collect();
        self.record(Record::Published { topic, messages });
        ids
    }

    /// Leases what is ready to a unary pull.
    pub(in super::super) fn pull(
        &mut self,
        now: Timestamp,
        subscription: &str,
        messages_max: i32,
    ) -> Result<Vec<ReceivedMessage>> {
        let messages_max = match usize::try_from(messages_max) {
            Ok(wanted @ 1..) => wanted.min(MESSAGES_MAX),
            _ => return invalid("The value for max_messages must be greater than 0."),
        };
        let deadline = self.subscription(subscription)?.queue.policy().ack_deadline;
        self.lease(now, subscription, Demand { deadline, messages_max, stream: None })
    }

    /// Opens a stream from its first request; answers with its id and its ack deadline.
    pub(in super::super) fn open_stream(
        &mut self,
        request: &StreamingPullRequest,
    ) -> Result<(u64, Duration)> {
        let deadline = policy::ack_deadline(request.stream_ack_deadline_seconds)?;
        let stream = self.streams + 1;
        let flow = Flow::new(request.max_outstanding_messages, request.max_outstanding_bytes);
        self.queue(&request.subscription)?.open_stream(stream, flow);
        self.streams = stream;
        Ok((stream, deadline))
    }

    pub(in super::super) fn close_stream(&mut self, subscription: &str, stream: u64) {
        if let Ok(queue) = self.queue(subscription) {
            queue.close_stream(stream);
        }
    }

    /// Leases what is ready to a stream, as far as its flow control allows.
    pub(in super::super) fn stream_pull(
        &mut self,
        now: Timestamp,
        subscription: &str,
        stream: u64,
        deadline: Duration,
    ) -> Result<Vec<ReceivedMessage>> {
        if !self.queue(subscription)?.has_stream(stream) {
            // The subscription was deleted and made anew under the stream.
            return Err(Error::NotFound(Name::subscription(subscription)?.id().to_owned()));
        }
        self.lease(
            now,
            subscription,
            Demand { deadline, messages_max: MESSAGES_MAX, stream: Some(stream) },
        )
    }

    pub(in super::super) fn unacknowledged(&self, subscription: &str) -> Result<usize> {
        Ok(self.subscription(subscription)?.queue.messages().count())
    }

    pub(in super::super) fn delivered(&self, subscription: &str) -> Result<Delivered> {
        Ok(self.subscription(subscription)?.queue.delivered())
    }

    /// What a stream is told about its subscription.
    pub(in super::super) fn properties(
        &self,
        subscription: &str,
    ) -> Result<SubscriptionProperties> {
        Ok(SubscriptionProperties {
            exactly_once_delivery_enabled: false,
            message_ordering_enabled: self.subscription(subscription)?.queue.policy().ordered,
        })
    }

    fn lease(
        &mut self,
        now: Timestamp,
        subscription: &str,
        demand: Demand,
    ) -> Result<Vec<ReceivedMessage>> {
        let (epoch, mut leases) = (self.epoch, self.leases);
        let queue = self.queue(subscription)?;
        let deliveries = queue.lease(now, demand, &mut leases);
        let counts_attempts = queue.policy().dead_letter.is_some();
        self.leases = leases;
        let received = deliveries.into_iter().map(|it| ReceivedMessage {
            ack_id: format!("{epoch}-{}-{}", it.lease.message, it.lease.number),
            message: Some(PubsubMessage::clone(&it.message)),
            delivery_attempt: if counts_attempts { it.attempt.cast_signed() } else { 0 },
        });
        Ok(received.collect())
    }

    /// Acknowledges deliveries. Those that have expired are ignored: they are delivered again.
    pub(in super::super) fn acknowledge(
        &mut self,
        subscription: &str,
        ack_ids: &[String],
    ) -> Result<()> {
        let leases = self.leases_of(subscription, ack_ids)?;
        let queue = self.queue(subscription)?;
        let acked: Vec<u64> =
            leases.into_iter().filter(|it| queue.is_current(*it)).map(|it| it.message).collect();
        if !acked.is_empty() {
            self.settle(&Name::subscription(subscription)?, acked);
        }
        Ok(())
    }

    /// Ends deliveries as if they had not been: their messages are delivered again from a time on.
    pub(in super::super) fn give_back(
        &mut self,
        subscription: &str,
        ack_ids: &[String],
        until: Timestamp,
    ) -> Result<()> {
        let leases = self.leases_of(subscription, ack_ids)?;
        let queue = self.queue(subscription)?;
        for lease in leases {
            queue.give_back(lease, until);
        }
        Ok(())
    }

    /// Gives deliveries more time, or with zero seconds hands them back.
    pub(in super::super) fn modify_ack_deadline(
        &mut self,
        now: Timestamp,
        subscription: &str,
        ack_ids: &[String],
        seconds: i32,
    ) -> Result<()> {
        let name = Name::subscription(subscription)?;
        let leases = self.leases_of(subscription, ack_ids)?;
        let by = match u64::try_from(seconds) {
            Ok(seconds @ 0..=ACK_DEADLINE_SECONDS_MAX) => Duration::from_secs(seconds),
            _ => {
                return invalid(format!(
                    "Invalid ack deadline given (ack_deadline_seconds={seconds}): it must be between 0 and {ACK_DEADLINE_SECONDS_MAX}."
                ));
            }
        };
        for lease in leases {
            let queue = self.queue(subscription)?;
            if !queue.is_current(lease) {
                continue;
            }
            if by.is_zero() {
                self.fail(now, &name, lease.message);
            } else {
                queue.extend(now, lease, by);
            }
        }
        Ok(())
    }

    /// Drops what was published before a time. Seeking back finds nothing: acknowledged messages are not kept.
    pub(in super::super) fn seek(&mut self, request: &SeekRequest) -> Result<()> {
        let Some(seek_request::Target::Time(time)) = &request.target else {
            self.subscription(&request.subscription)?;
            return Err(Error::Unimplemented("snapshots"));
        };
        let time = message::from_wire(time);
        let older = self.subscription(&request.subscription)?.queue.published_before(time);
        self.settle(&Name::subscription(&request.subscription)?, older);
        Ok(())
    }

    pub(super) fn settle(&mut self, subscription: &Name, messages: Vec<u64>) {
        self.record(Record::Settled { subscription: subscription.to_string(), messages });
    }

    /// Ends a delivery without success. After the last allowed attempt the
    /// message moves to the dead-letter topic; while that topic is missing, or
    /// the service itself may not do that, it goes on being delivered.
    pub(super) fn fail(&mut self, now: Timestamp, name: &Name, id: u64) {
        let Some(source) = self.subscriptions.get_mut(name) else {
            return;
        };
        let Some(attempts) = source.queue.fail(now, id) else {
            return;
        };
        let Some(policy) = &source.queue.policy().dead_letter else {
            return;
        };
        let topic = policy.topic.clone();
        if let Some(message) = source.queue.message(id)
            && self.topics.contains_key(&topic)
            && self.forwarding.allows(&name.to_string(), &topic.to_string())
        {
            let letter = message::dead_letter(name, message, attempts);
            self.settle(name, vec![id]);
            self.take_in(now, topic.to_string(), vec![letter]);
        }
    }

    /// The deliveries that ack ids name; those of an earlier process have expired.
    fn leases_of(&self, subscription: &str, ack_ids: &[String]) -> Result<Vec<Lease>> {
        self.subscription(subscription)?;
        if ack_ids.is_empty() {
            return invalid("No ack ids specified.");
        }
        let mut leases = Vec::with_capacity(ack_ids.len());
        for ack_id in ack_ids {
            let Some((epoch, lease)) = parse_ack_id(ack_id) else {
                return invalid(format!(
                    "You have passed an invalid ack ID to the service (ack_id={ack_id})."
                ));
            };
            if epoch == self.epoch {
                leases.push(lease);
            }
        }
        Ok(leases)
    }
}

fn parse_ack_id(ack_id: &str) -> Option<(i64, Lease)> {
    let mut parts = ack_id.split('-');
    let epoch = parts.next()?.parse().ok()?;
    let lease = Lease { message: parts.next()?.parse().ok()?, number: parts.next()?.parse().ok()? };
    parts.next().is_none().then_some((epoch, lease))
}
