//! Publishes what facts ask for, in order, and how a run moves up in line, and
//! closes queue entries whose attempt is announced to its end.

use std::sync::atomic::{AtomicU64, Ordering};

use branchline_contract::{Envelope, Phase, RunEvent};
use branchline_gcp::Error as GcpError;
use branchline_gcp::pubsub::{Message, Publish};
use branchline_ledger::{Queue, Queued, Run, Ticket};
use branchline_service::telemetry::chain;
use branchline_service::{Health, Metrics};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, info, warn};

use super::rights;
use super::tracked::{Time, Tracked};

impl Tracked {
    /// Whether anything is to be done for an entry.
    pub(super) fn is_due(&self, entry: &Queued, time: Time) -> bool {
        let published = self.published.get(&entry.ticket.attempt).copied();
        let cursor = entry.published.max(published);
        is_surplus(entry, &self.run)
            || is_over(&self.run, entry.ticket.attempt)
            || published > entry.published
            || due(&self.events, entry.ticket.attempt, cursor).next().is_some()
            || self.place.is_some_and(|it| it.is_news(time))
    }
}

/// What announcing works with, in one round.
pub(super) struct Announcer<'a> {
    pub publisher: &'a dyn Publish,
    pub topic: &'a str,
    pub queue: &'a Queue,
    pub metrics: &'a Metrics,
    pub health: &'a Health,
    pub time: Time,
    /// Raised with every run that was announced.
    pub steps: &'a AtomicU64,
    pub stop: &'a CancellationToken,
}

impl Announcer<'_> {
    /// Takes the entries of one run as far as they go; what fails is tried again in the next round.
    pub(super) async fn announce(&self, it: Tracked, entries: Vec<&Queued>) -> Tracked {
        let span = it.span(self.topic);
        self.announce_all(it, entries).instrument(span).await
    }

    async fn announce_all(&self, mut it: Tracked, mut entries: Vec<&Queued>) -> Tracked {
        // Attempts in their order: messages may have come in another.
        entries.sort_by_key(|it| it.ticket.attempt);
        for entry in entries {
            if self.stop.is_cancelled() {
                break;
            }
            if let Err(error) = self.tell(&mut it, entry).await {
                warn!(run.id = %it.run.id, error = chain(&error), "run not announced; tried again");
                rights::denied(self.health, &error);
                break;
            }
        }
        self.steps.fetch_add(1, Ordering::Relaxed);
        it
    }

    /// Publishes the events of one entry's attempt from its cursor onwards, moves
    /// the cursor, and removes the entry behind the last event.
    async fn tell(&self, it: &mut Tracked, entry: &Queued) -> Result<(), GcpError> {
        if is_surplus(entry, &it.run) {
            return self.queue.remove(entry).await;
        }
        let attempt = entry.ticket.attempt;
        // A cursor that could not be moved is remembered, so that nothing is said twice.
        let cursor = entry.published.max(it.published.get(&attempt).copied());
        let events: Vec<RunEvent> = due(&it.events, attempt, cursor).cloned().collect();
        for mut event in events {
            if event.phase == Phase::Queued {
                event.place_in_line = it.tell_place(self.time);
            }
            self.publish(&event, Envelope::run_event(&event)).await?;
            it.published.insert(attempt, event.ledger.sequence);
            if let Some(outcome) = event.outcome {
                self.metrics.finished(outcome);
            }
        }
        if is_over(&it.run, attempt) {
            self.queue.remove(entry).await?;
        } else if let Some(published) = it.published.get(&attempt)
            && entry.published < Some(*published)
        {
            self.queue.mark_published(entry, *published).await?;
        }
        if it.run.attempt == attempt && it.place.is_some_and(|it| it.is_news(self.time)) {
            self.tell_place(it).await?;
        }
        Ok(())
    }

    /// The last event once more, at the head of the ledger and with another place.
    async fn tell_place(&self, it: &mut Tracked) -> Result<(), GcpError> {
        let queued = it.events.last().filter(|it| it.phase == Phase::Queued);
        let Some(mut event) = queued.cloned() else { return Ok(()) };
        (event.ledger, event.recorded_at) = (it.run.head, it.run.recorded_at);
        event.place_in_line = it.tell_place(self.time);
        self.publish(&event, Envelope::place_in_line(&event)).await
    }

    async fn publish(&self, event: &RunEvent, envelope: Envelope) -> Result<(), GcpError> {
        publish(self.publisher, self.topic, event, envelope).await
    }
}

/// Publishes an event in its envelope.
pub(crate) async fn publish(
    publisher: &dyn Publish,
    topic: &str,
    event: &RunEvent,
    envelope: Envelope,
) -> Result<(), GcpError> {
    let Envelope { data, attributes } = envelope;
    let ordering_key = Some(event.run_id.to_string());
    let message = Message { data: data.into(), attributes, ordering_key };
    publisher.publish(topic, message).await?;
    info!(run.id = %event.run_id, phase = event.phase.as_str(), "run event published");
    Ok(())
}

/// The events of an attempt behind the cursor.
fn due(events: &[RunEvent], attempt: u32, cursor: Option<u32>) -> impl Iterator<Item = &RunEvent> {
    events.iter().filter(move |it| it.attempt == attempt && Some(it.ledger.sequence) > cursor)
}

/// Whether an attempt has said all that it will ever say.
fn is_over(run: &Run, attempt: u32) -> bool {
    run.attempt > attempt || (run.attempt == attempt && run.ending().is_some())
}

/// Whether another entry counts for that attempt: two messages asked at the same
/// time and this one came second, or the attempt that it was made for never came.
fn is_surplus(entry: &Queued, run: &Run) -> bool {
    let attempt = entry.ticket.attempt;
    (attempt == run.attempt && entry.ticket != Ticket::of(run))
        || (run.ending().is_some() && entry.ticket == Ticket::next(run))
}
