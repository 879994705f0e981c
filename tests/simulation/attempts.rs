//! When another attempt of a run may begin.

use branchline_contract::ArtifactReady;
use branchline_ledger::{Body, Entry, Run, State};

use super::Law;

impl Law {
    /// Whether whoever opened an attempt was asked for it, and by whom.
    pub(super) fn retried(
        &mut self,
        name: &str,
        request: Option<&ArtifactReady>,
        operators: Option<&str>,
        before: &Run,
    ) {
        if let Some(asked) = operators {
            return self.retried_for_an_operator(name, asked, before);
        }
        let Some(request) = request else { return self.retried_by_itself(name, before) };
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

    fn retried_for_an_operator(&mut self, name: &str, request: &str, before: &Run) {
        let ended = before.ending().is_some();
        self.check(ended, || format!("{name}: another attempt beside one that is live"));
        let asked = |entry: &Entry| match &entry.fact.body {
            Body::Retried { operator: Some(it), .. } => it.request == request,
            _ => false,
        };
        let kept = self.runs.values().find(|it| it.run.id == before.id);
        let times = kept.map_or(0, |it| it.entries.iter().filter(|it| asked(it)).count());
        self.check(times == 1, || format!("{name}: {request} was carried out twice"));
    }

    fn retried_by_itself(&mut self, name: &str, before: &Run) {
        let allowed = before.attempt < before.request.attempts_max.get();
        self.check(allowed, || format!("{name}: nobody asked for another attempt"));
        let job = before.job.as_deref().and_then(|it| self.number(it));
        self.check(job.is_some(), || format!("{name}: no job has failed"));
    }
}
