//! What training processes print is found by the job that they belong to, whatever its kind.

use crate::jobs::job;
use crate::serve;
use branchline_contract::JobKind;
use branchline_gcp::Class;
use branchline_gcp::logging::{LogEntry, Logging, of_jobs, since};
use branchline_gcp::vertex::{CreateJob, Job, JobState, Jobs as _, Vertex};
use branchline_local::faults::Dice;
use branchline_local::storage::Storage as EmbeddedStorage;
use branchline_local::vertex::Vertex as Embedded;
use jiff::Timestamp;
use std::time::Duration;
use tokio::time::Instant;

const REGION: &str = "europe-west4";

struct Stack {
    vertex: Vertex,
    door: Logging,
    embedded: Embedded,
}

impl Stack {
    async fn start() -> Self {
        let storage = EmbeddedStorage::open(None).unwrap();
        storage.create_bucket("bucket").unwrap();
        let embedded = Embedded::open(None, storage, Dice::default()).unwrap();
        let mut config = serve(embedded.router()).await;
        config.logging_endpoint = serve(embedded.logging().router()).await.logging_endpoint;
        let (vertex, door) = (Vertex::connect(&config), Logging::connect(&config));
        Self { vertex: vertex.await.unwrap(), door: door.await.unwrap(), embedded }
    }

    /// Runs a job to its end.
    async fn run(&self, kind: JobKind, script: &str) -> Job {
        let create = CreateJob {
            kind,
            project: "p-1",
            region: REGION,
            body: &job(kind, script),
            pipeline_job_id: (kind == JobKind::PipelineJob).then_some("run-1"),
            deadline: Instant::now() + Duration::from_secs(10),
        };
        let created = self.vertex.create(create).await.unwrap();
        let begun = Instant::now();
        loop {
            let job = self.vertex.get(kind, &created.name).await.unwrap();
            if matches!(job.state, JobState::Succeeded | JobState::Failed) {
                return job;
            }
            assert!(begun.elapsed() < Duration::from_secs(20), "{job:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// All pages of what a filter finds.
    async fn list(&self, filter: &str) -> Vec<LogEntry> {
        let (mut all, mut token) = (Vec::new(), None);
        loop {
            let page = self.door.list("p-1", filter, token).await.unwrap();
            all.extend(page.entries);
            token = page.next;
            if token.is_none() {
                return all;
            }
        }
    }
}

#[tokio::test]
async fn the_output_of_every_kind_of_job_is_found() {
    let stack = Stack::start().await;
    for kind in JobKind::ALL {
        let mark = kind.key();
        let job = stack.run(kind, &format!("echo {mark} one; echo {mark} two >&2")).await;
        let custom_jobs = stack.vertex.custom_jobs(kind, &job.name).await.unwrap();
        assert_eq!(custom_jobs.len(), usize::from(kind != JobKind::CustomJob), "{custom_jobs:?}");
        let filter = of_jobs(kind, &job.name, &custom_jobs).remove(0);
        let found = stack
            .list(&since(&filter, Some(Timestamp::now() - Duration::from_hours(1)), None))
            .await;
        let printed: Vec<_> = found.iter().filter(|it| it.task.is_some()).collect();
        let mut texts: Vec<_> =
            printed.iter().map(|it| (it.text.as_str(), it.severity.as_str())).collect();
        // Two streams of a process have no order between them.
        texts.sort_unstable();
        let expected = [(format!("{mark} one"), "INFO"), (format!("{mark} two"), "ERROR")];
        assert_eq!(texts, expected.each_ref().map(|(text, severity)| (text.as_str(), *severity)));
        for entry in printed {
            assert_eq!(entry.task.as_deref(), Some("workerpool0-0"));
            assert!(entry.time.is_some() && entry.received >= entry.time, "{entry:?}");
        }
        let states: Vec<_> = found.iter().filter(|it| it.task.is_none()).collect();
        assert_eq!(states.len(), if kind == JobKind::PipelineJob { 2 } else { 0 }, "{states:?}");
    }
    stack.embedded.shutdown().await;
}

#[tokio::test]
async fn more_than_a_page_is_read_page_by_page_and_each_entry_once() {
    let stack = Stack::start().await;
    let script = "i=0; while [ $i -lt 2500 ]; do echo $i; i=$((i+1)); done";
    let job = stack.run(JobKind::CustomJob, script).await;
    let filter = of_jobs(JobKind::CustomJob, &job.name, &[]).remove(0);
    let texts: Vec<_> = stack.list(&filter).await.into_iter().map(|it| it.text).collect();
    assert_eq!(texts, (0..2500).map(|it| it.to_string()).collect::<Vec<_>>());

    let refused = stack.door.list("p-1", "no=such", None).await.unwrap_err();
    assert_eq!(refused.class(), Class::Refused);
    assert!(refused.message().contains("the field 'no' is not known"), "{}", refused.message());
    stack.embedded.shutdown().await;
}
