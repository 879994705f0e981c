//! A run, told step by step while it happens: its facts, and its job in Vertex AI.

use std::time::Duration;

use branchline_contract::RunId;
use branchline_gcp::Class;
use branchline_gcp::vertex::{JobState, Jobs as _, Vertex};
use branchline_ledger::{Entry, History, Run, Store};

use crate::audit::detail;

const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Prints every fact and every state of the job until the run ends, and returns its history.
pub(crate) async fn follow(
    store: &Store,
    vertex: &Vertex,
    project_id: u64,
    run: &RunId,
) -> anyhow::Result<History> {
    let (mut told, mut state) = (0, None);
    loop {
        let history = store.load(project_id, run).await?;
        if let Some(history) = history {
            for entry in &history.entries[told..] {
                println!("ledger │ {}", line(entry));
            }
            told = history.entries.len();
            let seen = job_state(vertex, &history.run).await?;
            if seen != state
                && let Some(seen) = &seen
            {
                println!("vertex │ {seen:?}");
            }
            state = seen;
            if history.run.ending().is_some() {
                return Ok(history);
            }
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

async fn job_state(vertex: &Vertex, run: &Run) -> anyhow::Result<Option<JobState>> {
    let Some(job) = &run.job else { return Ok(None) };
    match vertex.get(run.request.training.kind(), job).await {
        Ok(job) => Ok(Some(job.state)),
        Err(error) if error.class() == Class::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// One fact in one line.
fn line(entry: &Entry) -> String {
    let fact = &entry.fact;
    let time = fact.time.strftime("%H:%M:%S");
    let detail = detail(&fact.body);
    format!("{:>3}  {time}  {:<10} {detail}", fact.sequence, fact.body.kind())
}
