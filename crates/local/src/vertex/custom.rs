//! Runs a custom job's worker pools: what every other kind but pipelines is made of.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;

use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::kind::State;
use super::logs::Replica;
use super::process;
use super::run::{Ending, Failure, Run};
use super::spec::{ContainerSpec, CustomJobSpec};

/// What a tuning job changes for one of its trials.
#[derive(Debug)]
pub(super) struct Trial {
    pub(super) id: String,
    /// Id of the custom job that it is.
    pub(super) custom_job: String,
    /// Appended to the arguments of every replica.
    pub(super) args: Vec<String>,
    /// Where the trial writes its metrics.
    pub(super) metric_file: PathBuf,
}

pub(super) async fn run(run: &Run) -> Result<Ending, Failure> {
    replicas(run, run.id(), &run.read("jobSpec")?, None, &run.stop).await
}

/// Runs all replicas of all pools; the first one of the first pool is the chief.
pub(super) async fn replicas(
    run: &Run,
    custom_job: &str,
    spec: &CustomJobSpec,
    trial: Option<&Trial>,
    stop: &CancellationToken,
) -> Result<Ending, Failure> {
    run.enter(State::Pending)?;
    let cluster =
        Cluster::of(spec).map_err(|error| Failure::internal(format!("finding ports: {error}")))?;
    let mut processes = Vec::new();
    for (pool, worker_pool) in spec.worker_pool_specs.iter().enumerate() {
        let Some(container) = &worker_pool.container_spec else {
            continue;
        };
        for index in 0..worker_pool.replicas() {
            let mut env = environment(spec, container, trial);
            env.insert("CLUSTER_SPEC".to_owned(), cluster.variable(pool, index));
            let mut argv = [container.command.as_slice(), &container.args].concat();
            argv.extend(trial.iter().flat_map(|trial| trial.args.iter().cloned()));
            let name = format!("workerpool{pool}-{index}");
            let task = trial.map_or(name.clone(), |trial| format!("{}/{name}", trial.id));
            let replica = Replica { custom_job: custom_job.to_owned(), name };
            processes.push(run.prepare(&task, replica, argv, env).await?);
        }
    }
    run.enter(State::Running)?;
    let deadline = spec.scheduling.timeout();
    Ok(run.ending(process::run(processes, deadline, stop).await, deadline))
}

fn environment(
    spec: &CustomJobSpec,
    container: &ContainerSpec,
    trial: Option<&Trial>,
) -> BTreeMap<String, String> {
    let given = container.env.iter().map(|it| (it.name.clone(), it.value.clone()));
    let mut env: BTreeMap<_, _> = given.collect();
    let base = spec.base_output_directory.output_uri_prefix.trim_end_matches('/');
    if !base.is_empty() {
        let base = trial.map_or(base.to_owned(), |trial| format!("{base}/{}", trial.id));
        for (variable, directory) in [
            ("AIP_MODEL_DIR", "model"),
            ("AIP_CHECKPOINT_DIR", "checkpoints"),
            ("AIP_TENSORBOARD_LOG_DIR", "logs"),
        ] {
            env.insert(variable.to_owned(), format!("{base}/{directory}/"));
        }
    }
    if let Some(trial) = trial {
        let metric_file = trial.metric_file.to_string_lossy().into_owned();
        env.insert("CLOUD_ML_HP_METRIC_FILE".to_owned(), metric_file);
        env.insert("CLOUD_ML_TRIAL_ID".to_owned(), trial.id.clone());
    }
    env
}

/// Where the replicas find each other.
struct Cluster(BTreeMap<String, Vec<String>>);

impl Cluster {
    /// All replicas share one machine, so each gets a port of its own, free a moment ago.
    fn of(spec: &CustomJobSpec) -> io::Result<Self> {
        let mut held = Vec::new();
        let mut cluster = BTreeMap::new();
        for (pool, worker_pool) in spec.worker_pool_specs.iter().enumerate() {
            let mut addresses = Vec::new();
            for _ in 0..worker_pool.replicas() {
                let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
                addresses.push(listener.local_addr()?.to_string());
                held.push(listener);
            }
            if !addresses.is_empty() {
                cluster.insert(format!("workerpool{pool}"), addresses);
            }
        }
        Ok(Self(cluster))
    }

    fn variable(&self, pool: usize, index: usize) -> String {
        json!({
            "cluster": self.0,
            "environment": "cloud",
            "task": {"type": format!("workerpool{pool}"), "index": index},
        })
        .to_string()
    }
}
