//! When another attempt of a run may begin.

use branchline_contract::ArtifactReady;
use branchline_ledger::{Run, State};

use super::Law;

impl Law {
    /// Whether whoever opened an attempt was asked for it, and by whom.
    pub(super) fn retried(
        &mut self,
        name: &str,
        request: Option<&ArtifactReady>,
        by_operator: bool,
        before: &Run,
    ) {
        let Some(request) = request.filter(|_| !by_operator) else {
            return self.retried_without_a_job(name, by_operator, before);
        };
        let ci_job = &request.gitlab.job_id;
        self.check(!before.ci_jobs.contains(ci_job), || {
            format!("{name}: CI job {ci_job} has asked before, and starts another attempt")
        });
        let abandoned = matches!(before.state, State::Stalled(_));
        self.taken_over += u32::from(abandoned);
        self.check(before.ended_badly() || abandoned, || {
            format!("{name}: the attempt before did not end badly, and goes on by itself")
        });
    }

    fn retried_without_a_job(&mut self, name: &str, by_operator: bool, before: &Run) {
        if by_operator {
            let ended = before.ending().is_some();
            return self
                .check(ended, || format!("{name}: another attempt beside one that is live"));
        }
        let allowed = before.attempt < before.request.attempts_max.get();
        self.check(allowed, || format!("{name}: nobody asked for another attempt"));
        let job = before.job.as_deref().and_then(|it| self.number(it));
        self.check(job.is_some(), || format!("{name}: no job has failed"));
    }
}
