//! An installation with IAM enforced, in which each part may do what is listed, and what can be
//! seen of it from outside.

use std::path::PathBuf;

use anyhow::Result;
use branchline_contract::{JobKind, RunId};
use branchline_gcp::pubsub::{Message, Publish as _, Publisher};
use branchline_ledger::{Filed, History};
use branchline_local::installation::{
    ARTIFACTS, LEDGER, PROJECT, QUEUE, STAGING, subscription, topic,
};
use branchline_tests::auditor::Told;
use branchline_tests::eventually::eventually;
use branchline_tests::naps::training;
use branchline_tests::roles::account;
use branchline_tests::world::World;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::Command;

use crate::methods::Asked;
use crate::rights::{self, Right};

/// Leaves a number and a model where a run's are looked for.
const TRAIN: &str = r#"output="$CLOUD_STORAGE_MOUNT/${1#gs://}"
mkdir -p "$output/model"
echo '{"accuracy": 1}' > "$output/metrics.json"
echo learned > "$output/model/weights""#;

pub(crate) struct Scene {
    pub(crate) world: World,
    /// The run that CI has asked for.
    pub(crate) published: Option<RunId>,
    /// The CI job's ID token.
    pub(crate) token: String,
    /// Where the CI job finds the stack, and itself.
    environment: Vec<(String, String)>,
    directory: TempDir,
}

/// What went over the wire.
pub(crate) struct Wire(PathBuf);

impl Scene {
    /// Everybody is ready, and somebody leads.
    pub(crate) async fn start() -> Self {
        let directory = tempfile::tempdir().expect("a directory can be made");
        let wire = directory.path().join("wire.jsonl");
        let more = json!({
            "staging": {"bucket": STAGING},
            "creates_per_minute": 60_000,
            // None of its renewals is due in a run: an entry of the queue is the first to be deleted.
            "lease": "60s",
            "consume": {"attempts_max": 100, "grace": "2s"},
        });
        let world = World::start_granting(Some(wire), more, rights::give).await;
        for name in ["object", "many/a", "many/b"] {
            let put = world.stack.storage.put(ARTIFACTS, name, name);
            put.expect("the bucket is there");
        }
        let token = world.stack.gitlab.id_token(world.job.id, "branchline");
        let token = token.expect("the job is there");
        let environment = environment(&world, &token).await;
        let scene = Self { world, published: None, token, environment, directory };
        scene.write_repository();
        eventually("everybody is ready, and somebody leads", async || {
            let ready = scene.world.readiness().await.iter().all(|it| it.0);
            let leads = !scene.world.stack.storage.list(QUEUE, "lease").is_empty();
            (ready && leads).then_some(())
        })
        .await;
        scene
    }

    fn write_repository(&self) {
        let spec = json!({"workerPoolSpecs": [{
            "machineSpec": {"machineType": "n1-standard-4"},
            "replicaCount": 1,
            "containerSpec": {
                "imageUri": "debian",
                "command": ["sh", "{{ artifacts.code.path }}", "{{ output }}"],
            },
        }]});
        let config = json!({
            "project": PROJECT,
            "region": "europe-west4",
            "bucket": ARTIFACTS,
            "topic": topic(PROJECT, "artifact-ready"),
            "ledger": LEDGER,
            "runs": {"iris": {
                "artifacts": {
                    "code": {"path": "train.sh"},
                    "object": {"uri": format!("gs://{ARTIFACTS}/object")},
                    "many": {"uri": format!("gs://{ARTIFACTS}/many/")},
                },
                "training": {"custom_job": {"displayName": "iris", "jobSpec": spec}},
            }},
        });
        for (name, text) in [("branchline.yaml", config.to_string()), ("train.sh", TRAIN.into())] {
            std::fs::write(self.directory.path().join(name), text).expect("a file can be written");
        }
    }

    /// Runs `branchline` as the CI job.
    pub(crate) async fn ci(&self, args: &[&str]) -> Told {
        let mut command = Command::new(branchline_tests::processes::executable());
        command
            .args(args)
            .current_dir(self.directory.path())
            .env_clear()
            .envs(&self.world.job.variables)
            .envs(self.environment.iter().map(|(name, it)| (name, it)))
            .kill_on_drop(true);
        Told::of(command).await
    }

    /// A request of the CI job beside that, for a job of a kind that runs a script.
    pub(crate) fn request(&self, run: &str, kind: JobKind, script: &str) -> Value {
        let mut request = self.world.request(run, &json!([]), "");
        request["training"] = json!({kind.key(): training(kind, script)});
        request
    }

    /// How the run stands that CI has asked for, once it is as it should be.
    pub(crate) async fn published(&self, is_there: impl Fn(&History) -> bool) -> History {
        let run = self.published.as_ref().expect("CI has published");
        eventually("the run gets there", async || {
            let loaded = self.world.store.load(self.world.project_id, run).await;
            loaded.expect("the ledger folds").filter(&is_there)
        })
        .await
    }

    /// The same of another request.
    pub(crate) async fn reaches(
        &self,
        request: &Value,
        is_there: impl Fn(&History) -> bool,
    ) -> History {
        eventually("the run gets there", async || {
            self.world.history(request).await.filter(&is_there)
        })
        .await
    }

    /// Whether nothing waits in a subscription.
    pub(crate) fn is_empty(&self, id: &str) -> bool {
        let waiting = self.world.stack.pubsub.unacknowledged(&subscription(PROJECT, id));
        waiting.expect("the subscription is there") == 0
    }

    /// Publishes to a topic, as its owner.
    pub(crate) async fn send(&self, id: &str, message: Message) -> Result<()> {
        let publisher = Publisher::connect(self.world.google()).await?;
        publisher.publish(&topic(PROJECT, id), message).await?;
        Ok(())
    }

    /// A dead letter of that kind, once it is in the archive.
    pub(crate) async fn letter(&self, is_it: impl Fn(&Filed) -> bool) -> Filed {
        let archive = self.world.archive();
        eventually("the dead letter is in the archive", async || {
            let letters = archive.list(None).await.expect("the owner may list it");
            letters.into_iter().find(&is_it)
        })
        .await
    }

    /// What goes over the wire meanwhile.
    pub(crate) fn wire(&self) -> Wire {
        Wire(self.directory.path().join("wire.jsonl"))
    }

    /// What everybody says who can be asked why something does not go on.
    pub(crate) async fn complaints(&self) -> String {
        let [worker, notifier] = self.world.readiness().await;
        let facts = self.world.stack.storage.list(LEDGER, "runs/").into_iter().filter_map(|it| {
            let (_, content) = self.world.stack.storage.get(LEDGER, &it.name)?;
            Some(String::from_utf8_lossy(&content).into_owned())
        });
        let is_said = |it: &String| {
            ["blocked", "refused", "stalled", "finished"]
                .iter()
                .any(|kind| it.contains(&format!("\"kind\":\"{kind}\"")))
        };
        let facts: Vec<_> = facts.filter(is_said).collect();
        format!("worker:\n{}notifier:\n{}facts:\n{}", worker.1, notifier.1, facts.join("\n"))
    }
}

impl Wire {
    /// All requests so far.
    pub(crate) fn lines(&self) -> Vec<Value> {
        let log = std::fs::read_to_string(&self.0).expect("it is written");
        let whole = log.split_inclusive('\n').filter(|it| it.ends_with('\n'));
        whole.map(|it| serde_json::from_str(it).expect("a line of JSON")).collect()
    }

    /// Whether something was refused for want of a right.
    pub(crate) fn tells_of(&self, right: &Right) -> bool {
        let lines = self.lines();
        lines.iter().filter_map(Asked::of).any(|it| it.is_refused_without(right))
    }
}

async fn environment(world: &World, token: &str) -> Vec<(String, String)> {
    let metadata = world.stack.metadata_server(&account("ci")).await.expect("a port is free");
    let endpoints = world.stack.endpoints();
    [
        ("GCE_METADATA_HOST", metadata.to_string()),
        ("BRANCHLINE_PUBSUB_ENDPOINT", format!("http://{}", endpoints.pubsub)),
        ("BRANCHLINE_STORAGE_ENDPOINT", format!("http://{}", endpoints.storage)),
        ("BRANCHLINE_LEDGER_BUCKET", LEDGER.to_owned()),
        ("BRANCHLINE_ID_TOKEN", token.to_owned()),
    ]
    .map(|(name, it)| (name.to_owned(), it))
    .into()
}
