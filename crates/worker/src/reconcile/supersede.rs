//! Which runs newer ones supersede. Decided before dispatch and by what GitLab
//! numbers, pipelines and jobs: never by what arrived first.

use std::collections::BTreeMap;

use branchline_contract::RunId;
use branchline_gcp::Error as GcpError;
use branchline_ledger::{Body, Line, Newest, Run, State};
use branchline_service::telemetry::chain;
use tracing::warn;

use super::leader::Leader;
use super::perform::Error;
use super::tracked::Tracked;

/// The newest of every line that was ever superseded.
pub(super) type Lines = BTreeMap<Line, Newest>;

impl Leader {
    /// Asks that every run end that a newer one supersedes.
    pub(super) async fn supersede(&mut self) -> Result<(), GcpError> {
        let mut lines = match self.lines.take() {
            Some(lines) => lines,
            None => self.ledger.newests.list().await?,
        };
        let raised = self.raise(&mut lines).await;
        let superseded = superseded(self.runs.values().map(|it| &it.run), &lines);
        self.lines = Some(lines);
        raised?;
        for (run, reason) in superseded {
            let Some(mut it) = self.runs.remove(&run) else { continue };
            if let Err(error) = self.end(&mut it, reason).await {
                warn!(run.id = %run, error = chain(&error), "run not superseded; tried again");
            }
            self.runs.insert(run, it);
        }
        Ok(())
    }

    /// Puts on record which runs supersede others.
    async fn raise(&self, lines: &mut Lines) -> Result<(), GcpError> {
        for run in self.runs.values().map(|it| &it.run) {
            let line = Line::of(run);
            let known = lines.get(&line).map(|it| it.pipeline_id);
            if run.request.supersede && may_train(run) && known < Some(run.pipeline_id) {
                let newest = self.ledger.newests.raise(&line, Newest::of(run)).await?;
                lines.extend(newest.map(|it| (line, it)));
            }
        }
        Ok(())
    }

    /// Why an attempt that is begun now would be superseded at once, if it would.
    pub(super) async fn would_supersede(&mut self, run: &Run) -> Result<Option<String>, GcpError> {
        let lines = match self.lines.take() {
            Some(lines) => lines,
            None => self.ledger.newests.list().await?,
        };
        let begun = Run { state: State::Admitted, cancel: None, ..run.clone() };
        let others = self.runs.values().map(|it| &it.run).filter(|it| it.id != run.id);
        let found = superseded(others.chain([&begun]), &lines);
        self.lines = Some(lines);
        Ok(found.into_iter().find(|(it, _)| *it == run.id).map(|(_, reason)| reason))
    }

    async fn end(&self, it: &mut Tracked, reason: String) -> Result<(), Error> {
        self.hands().append(it, Body::CancelRequested { reason, request: None }).await
    }
}

/// Whether intake has let it in and it has not ended.
const fn may_train(run: &Run) -> bool {
    match run.state {
        State::Admitted | State::Intended | State::Submitted | State::Running => true,
        State::Requested
        | State::Stalled(_)
        | State::Verified
        | State::Held(_)
        | State::Finished(_) => false,
    }
}

/// Whether it can be superseded: what intake works on moves on by itself.
const fn is_over(run: &Run) -> bool {
    match run.state {
        State::Stalled(_)
        | State::Held(_)
        | State::Admitted
        | State::Intended
        | State::Submitted
        | State::Running => run.cancel.is_some(),
        State::Requested | State::Verified | State::Finished(_) => true,
    }
}

/// The runs that newer ones supersede, each with the reason.
fn superseded<'a>(
    runs: impl Iterator<Item = &'a Run> + Clone,
    lines: &Lines,
) -> Vec<(RunId, String)> {
    let mut works: BTreeMap<_, &Run> = BTreeMap::new();
    for run in runs.clone().filter(|it| may_train(it)) {
        let newest = works.entry(work(run)).or_insert(run);
        if newest_job(newest) < newest_job(run) {
            *newest = run;
        }
    }
    let reason = |run: &Run| {
        if let Some(by) = lines.get(&Line::of(run))
            && by.pipeline_id > run.pipeline_id
            && by.sha != run.request.gitlab.sha
        {
            return Some(format!("superseded by {} of pipeline {}", by.run, by.pipeline_id));
        }
        let by = works.get(&work(run)).filter(|it| newest_job(it) > newest_job(run))?;
        Some(format!("superseded by {} of CI job {}", by.id, newest_job(by)))
    };
    runs.filter(|it| !is_over(it)).filter_map(|it| Some((it.id.clone(), reason(it)?))).collect()
}

/// Of one commit and run name one run is live, whatever its inputs. Where each
/// pipeline is other work, of one pipeline.
fn work(run: &Run) -> (&str, u64, &str, &str, Option<u64>) {
    let (request, gitlab) = (&run.request, &run.request.gitlab);
    (
        gitlab.host.as_str(),
        gitlab.project_id,
        gitlab.sha.as_str(),
        request.run.as_str(),
        request.per_pipeline.then_some(gitlab.pipeline_id),
    )
}

fn newest_job(run: &Run) -> u64 {
    run.ci_jobs.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use branchline_contract::ArtifactReady;

    use super::*;
    use crate::testing::{admitted, custom_job, request, run, submitted};

    /// A run by its pipeline, job and commit.
    fn asked(pipeline: u64, job: u64, commit: char, change: impl Fn(&mut ArtifactReady)) -> Run {
        of(admitted(), pipeline, job, commit, change)
    }

    fn of(
        facts: Vec<Body>,
        pipeline: u64,
        job: u64,
        commit: char,
        change: impl Fn(&mut ArtifactReady),
    ) -> Run {
        let mut request = request(&custom_job());
        (request.gitlab.pipeline_id, request.gitlab.job_id) = (pipeline, job);
        request.gitlab.sha = commit.to_string().repeat(40).parse().unwrap();
        request.supersede = true;
        change(&mut request);
        run(&request, facts)
    }

    /// Pipeline and job of every run that is superseded.
    fn check(name: &str, runs: &[Run], newest: Option<&Run>, expected: &[(u64, u64)]) {
        let lines = newest.map(|it| (Line::of(it), Newest::of(it))).into_iter().collect();
        let found = superseded(runs.iter(), &lines);
        let origin = |id: &RunId| {
            let gitlab = &runs.iter().find(|it| it.id == *id).unwrap().request.gitlab;
            (gitlab.pipeline_id, gitlab.job_id)
        };
        let mut found: Vec<_> = found.iter().map(|(id, _)| origin(id)).collect();
        found.sort_unstable();
        assert_eq!(found, expected, "{name}");
    }

    #[test]
    fn an_older_pipeline_of_the_same_branch_and_run_name_is_superseded() {
        let same = |_: &mut ArtifactReady| {};
        let newest = asked(2, 20, 'b', same);
        let older = |facts| of(facts, 1, 10, 'a', same);
        let by = Some(&newest);
        check("waits", &[older(admitted()), newest.clone()], by, &[(1, 10)]);
        check("trains", &[older(submitted()), newest.clone()], by, &[(1, 10)]);
        check("comes late", &[older(admitted())], by, &[(1, 10)]);
        check("nobody asked for it", &[older(admitted()), newest.clone()], None, &[]);
        check("is being checked", &[older(vec![])], by, &[]);
        let cancel = Body::CancelRequested { reason: String::new(), request: None };
        check("is told already", &[older([admitted(), vec![cancel]].concat())], by, &[]);
        check("is newer", &[asked(3, 30, 'c', same)], by, &[]);
        check("same commit", &[asked(1, 10, 'b', same)], by, &[]);
        check(
            "other branch",
            &[asked(1, 10, 'a', |it| it.gitlab.git_ref = "x".parse().unwrap())],
            by,
            &[],
        );
        check("other run name", &[asked(1, 10, 'a', |it| it.run = "x".parse().unwrap())], by, &[]);
        check("other project", &[asked(1, 10, 'a', |it| it.gitlab.project_id = 8)], by, &[]);
        let duplicate = Body::Duplicate { ci_job: 30, pipeline_id: Some(3) };
        check("asked for anew", &[older([admitted(), vec![duplicate]].concat())], by, &[]);
    }

    #[test]
    fn of_one_commit_and_run_name_the_newest_job_with_other_inputs_counts() {
        let inputs =
            |n: i64| move |it: &mut ArtifactReady| it.artifacts[0].size = n.try_into().unwrap();
        let per_pipeline = |it: &mut ArtifactReady| it.per_pipeline = true;
        let (first, second) = (asked(1, 10, 'a', inputs(1)), asked(1, 11, 'a', inputs(2)));
        check("newer job", &[second.clone(), first.clone()], None, &[(1, 10)]);
        let held = of(vec![], 1, 11, 'a', inputs(2));
        check("not let in yet", &[first.clone(), held], None, &[]);
        let again = Body::Duplicate { ci_job: 12, pipeline_id: Some(1) };
        let again = of([admitted(), vec![again]].concat(), 1, 10, 'a', inputs(1));
        check("first asks again", &[again, second], None, &[(1, 11)]);
        let other = asked(2, 20, 'a', per_pipeline);
        check("each pipeline by itself", &[asked(1, 10, 'a', per_pipeline), other], None, &[]);
    }
}
