//! Publishes what facts ask for, in order, and closes queue entries whose
//! attempt is announced to its end.

use std::collections::BTreeMap;

use branchline_contract::{Envelope, Phase, RunEvent, RunId};
use branchline_gcp::Error as GcpError;
use branchline_gcp::pubsub::{Message, Publish};
use branchline_ledger::{Queue, Queued, Run, State};
use tracing::info;

use super::perform::Tracked;

/// Publishes the events of one entry's attempt from its cursor onwards, moves
/// the cursor, and removes the entry behind the last event.
pub(super) async fn announce(
    (publisher, topic): (&dyn Publish, &str),
    queue: &Queue,
    entry: &Queued,
    it: &mut Tracked,
    place_in_line: Option<u32>,
) -> Result<(), GcpError> {
    let attempt = entry.ticket.attempt;
    // A cursor that could not be moved is remembered, so that nothing is said twice.
    let cursor = entry.published.max(it.published.get(&attempt).copied());
    let due: Vec<RunEvent> = due(&it.events, attempt, cursor).cloned().collect();
    for mut event in due {
        if event.phase == Phase::Queued {
            event.place_in_line = place_in_line;
        }
        let Envelope { data, attributes } = Envelope::run_event(&event);
        let ordering_key = Some(event.run_id.to_string());
        publisher.publish(topic, Message { data: data.into(), attributes, ordering_key }).await?;
        info!(run.id = %event.run_id, phase = event.phase.as_str(), "run event published");
        it.published.insert(attempt, event.ledger.sequence);
    }
    if is_over(&it.run, attempt) {
        queue.remove(entry).await?;
    } else if let Some(published) = it.published.get(&attempt)
        && entry.published < Some(*published)
    {
        queue.mark_published(entry, *published).await?;
    }
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

/// Place in line of every waiting run among the runs of its project and region, in queue order.
pub(super) fn places<'a>(in_order: impl Iterator<Item = &'a Run>) -> BTreeMap<RunId, u32> {
    let mut lines: BTreeMap<&branchline_contract::Vertex, u32> = BTreeMap::new();
    let mut places = BTreeMap::new();
    for run in in_order {
        if matches!(run.state, State::Admitted | State::Intended) {
            let place = lines.entry(&run.request.vertex).or_default();
            *place += 1;
            places.insert(run.id.clone(), *place);
        }
    }
    places
}
