//! What becomes of a run whose create call Vertex AI refuses: it waits, it says what is
//! missing, or it ends.

use std::sync::Mutex;

use branchline_contract::Outcome;
use branchline_gcp::{Class, Error as GcpError};
use branchline_ledger::{Body, Ending, Run, State};
use tracing::warn;

use super::line::{Line, waits_for};
use super::perform::{COLLISIONS_MAX, Error, Hands, answer, locked};
use super::step::Answer;
use super::tracked::Tracked;

/// Pauses, in rounds.
const RETRY_MIN: u32 = 5;
const RETRY_MAX: u32 = 600;
/// A call that is refused more often in a row is worth a word to who waits for it.
const REFUSALS_SILENT: u32 = 3;

impl Hands<'_> {
    /// Only a definite refusal ends an intent; everything else settles.
    pub(super) async fn refused(
        &self,
        it: &mut Tracked,
        error: GcpError,
        pipeline_job_id: Option<&str>,
        line: &Mutex<Line>,
    ) -> Result<(), Error> {
        let class = error.class();
        warn!(run.id = %it.run.id, error = branchline_service::telemetry::chain(&error), definite = error.definite(), "job not created");
        if !(error.definite() && class == Class::Quota) {
            locked(line).unanswered(it.run.request.gitlab.project_id, self.now());
        }
        if !error.definite() {
            return Ok(());
        }
        match (class, pipeline_job_id) {
            (Class::Conflict, Some(id)) => self.adopt(it, id, error).await,
            (Class::Quota, _) => {
                answer(it, Answer::Quota);
                it.memory.refusals += 1;
                let metrics = error.quota_metrics();
                let reason = match metrics.as_slice() {
                    [] => format!("waits for Vertex AI's quota: {}", error.message()),
                    metrics => waits_for(metrics),
                };
                // The line asks again for it soon, and a reader need not know each time.
                let silent = metrics.is_empty() && it.memory.refusals < REFUSALS_SILENT;
                locked(line).refused(&it.need, metrics, (self.now(), error.retry_after()));
                if silent { Ok(()) } else { self.block(it, reason).await }
            }
            (Class::Permission, _) => {
                self.back_off(it);
                if !self.end_intent(it, error.message()).await? {
                    return Ok(());
                }
                self.lacks(it, &error).await
            }
            (Class::Refused | Class::NotFound | Class::Conflict, _) => {
                self.give_up(it, error.message()).await
            }
            // A definite answer is never transient; if it were, settling is right.
            (Class::Transient, _) => Ok(()),
        }
    }

    /// Vertex AI will not have it, now or later.
    pub(super) async fn give_up(&self, it: &mut Tracked, message: String) -> Result<(), Error> {
        if !self.end_intent(it, message.clone()).await? {
            return Ok(());
        }
        let ending = Ending::without_job(Outcome::Failed, message);
        self.append(it, Body::Finished(ending)).await
    }

    /// Records a refusal. `false` when another leader took the run elsewhere meanwhile.
    async fn end_intent(&self, it: &mut Tracked, message: String) -> Result<bool, Error> {
        let intent = it.run.intents.last().expect("a call has an intent").nonce.clone();
        let stands = |run: &Run| {
            let last = run.intents.last().is_some_and(|it| it.nonce == intent);
            run.state == State::Intended && last
        };
        // Intake may write in between; the answer is as definite as it was.
        for _ in 0..COLLISIONS_MAX {
            let body = Body::Refused { intent: intent.clone(), message: message.clone() };
            self.append(it, body).await?;
            if !stands(&it.run) {
                break;
            }
        }
        Ok(matches!(it.run.state, State::Admitted))
    }

    /// Says which right is missing.
    pub(super) async fn lacks(&self, it: &mut Tracked, error: &GcpError) -> Result<(), Error> {
        let lacking = error.lacking().map(|it| format!(" ({it})"));
        self.block(it, format!("{}{}", error.message(), lacking.unwrap_or_default())).await
    }

    /// Says what keeps the run from going on, when that is news.
    pub(super) async fn block(&self, it: &mut Tracked, reason: String) -> Result<(), Error> {
        if it.run.blocked.as_ref() == Some(&reason) {
            return Ok(());
        }
        self.append(it, Body::Blocked { reason, pause: None }).await
    }

    pub(super) fn back_off(&self, it: &mut Tracked) {
        let rounds = (RETRY_MIN * 2_u32.pow(it.memory.refusals.min(16))).min(RETRY_MAX);
        // Half of it jittered, so that the runs of one outage do not come back together.
        let jittered = (self.settings.tick * rounds).mul_f64(0.5 + fastrand::f64() / 2.0);
        it.memory.retry_at = self.now() + jittered;
        it.memory.refusals += 1;
    }
}
