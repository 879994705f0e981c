//! A leader that comes to thousands of runs, in a world where nothing else goes wrong.

use std::collections::BTreeSet;
use std::time::Duration;

use branchline_contract::{ArtifactReady, Envelope, RunId};
use branchline_gcp::pubsub::Message;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::identity;
use crate::story::{ARTIFACT_READY, GONE, PATIENCE, PROCESSES, live, request, runtime, subscribe};
use crate::world::{World, wall_clock};

/// All worker pods go at once while thousands of jobs train, and one comes back to storage
/// that is slow. Tells how long a run that is asked for then waits for its job.
pub(crate) fn take_over(runs: usize, patience: Duration) -> Option<Duration> {
    runtime().block_on(async {
        let world = World::new(0, &PROCESSES);
        let (requests, last) = {
            let mut state = world.state();
            subscribe(&mut state.topics);
            state.jobs.pace = 1_000;
            let requests = (0..).map(|it| request(&mut state, it));
            let found = requests.filter(|it| it.artifacts[0].uri.to_string() != GONE);
            let mut requests: Vec<_> = found.take(runs + 1).collect();
            let last = requests.pop().expect("one more than that");
            (requests, last)
        };
        let publish = |request: &ArtifactReady| {
            let mut request = request.clone();
            identity::sign(&mut request);
            let Envelope { data, attributes } = Envelope::artifact_ready(&request, wall_clock());
            let message = Message { data: data.into(), attributes, ordering_key: None };
            world.state().publish(ARTIFACT_READY, &message);
        };
        let have_jobs = || -> BTreeSet<String> {
            let live = world.state().live_jobs().into_iter();
            live.map(|mut it| it.labels.remove("branchline-run").expect("a label")).collect()
        };
        let start = |process| tokio::spawn(live(world.clone(), process, CancellationToken::new()));
        let before = [start(0), start(1)];
        requests.iter().for_each(publish);
        let begun = Instant::now();
        while have_jobs().len() < requests.len() {
            if begun.elapsed() > PATIENCE {
                return None;
            }
            sleep(Duration::from_secs(5)).await;
        }
        for life in before {
            life.abort();
        }
        world.state().slowness = 10;
        let (after, begun) = (start(0), Instant::now());
        publish(&last);
        let (run, _) = RunId::derive(&last);
        while !have_jobs().contains(run.as_str()) {
            if begun.elapsed() > patience {
                return None;
            }
            sleep(Duration::from_secs(1)).await;
        }
        after.abort();
        Some(begun.elapsed())
    })
}
