//! What became of an installation's runs, counted outside our own ledger: on the wire, in Pub/Sub, in GitLab.

use std::collections::BTreeMap;
use std::fs;

use anyhow::Result;
use branchline_contract::RunId;
use branchline_local::installation::{self, PROJECT, subscription, topic};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::installation::Installation;

impl Installation {
    /// The runs that Vertex AI has made jobs for, one by one, with the times of its answers, by the log of the wire.
    pub fn created(&self) -> Result<Vec<(Timestamp, String)>> {
        let mut created = Vec::new();
        for line in fs::read_to_string(self.path("wire.jsonl"))?.lines() {
            let line: Value = serde_json::from_str(line)?;
            let run = line["labels"]["branchline-run"].as_str();
            if let (Some(run), Some("200"), Some(time)) =
                (run, line["status"].as_str(), line["answered"].as_str())
            {
                created.push((time.parse()?, run.to_owned()));
            }
        }
        Ok(created)
    }

    /// The requests to one service, by the same log.
    pub fn wire(&self, service: &str) -> Result<Vec<Value>> {
        let log = fs::read_to_string(self.path("wire.jsonl"))?;
        let lines = log.lines().map(serde_json::from_str::<Value>);
        let lines: Vec<Value> = lines.collect::<Result<_, _>>()?;
        Ok(lines.into_iter().filter(|it| it["service"] == service).collect())
    }

    /// How many jobs Vertex AI has made for each run, by the same log.
    pub fn creates(&self) -> Result<BTreeMap<String, usize>> {
        let mut creates = BTreeMap::new();
        for (_, run) in self.created()? {
            *creates.entry(run).or_default() += 1;
        }
        Ok(creates)
    }

    /// How many dead letters there are.
    pub fn dead_letters(&self) -> Result<usize> {
        Ok(self.objects(installation::DEAD_LETTERS)?.len())
    }

    /// The newest commit status of a run.
    pub async fn commit_status(&self, run: &RunId, token: &str) -> Result<Option<String>> {
        let path = format!(
            "projects/{}/repository/commits/{}/statuses",
            self.project_id(),
            self.job().sha
        );
        let url = format!("{}/api/v4/{path}?name=branchline/{}", self.gitlab(), run.name());
        let answer = reqwest::Client::new().get(url).bearer_auth(token).send().await?;
        let answer: Value = answer.error_for_status()?.json().await?;
        Ok(answer[0]["status"].as_str().map(str::to_owned))
    }

    /// Keeps every run event from here on, for [`Installation::announced`].
    pub async fn keep_events(&self) -> Result<()> {
        self.subscribe(
            KEPT,
            json!({"topic": topic(PROJECT, "run-events"), "enableMessageOrdering": true}),
        )
        .await
    }

    /// Keeps every message of a topic from here on in a subscription of that name.
    pub async fn keep(&self, of: &str, name: &str) -> Result<()> {
        self.subscribe(name, json!({"topic": topic(PROJECT, of)})).await
    }

    async fn subscribe(&self, name: &str, body: Value) -> Result<()> {
        let url = self.pubsub(&subscription(PROJECT, name));
        reqwest::Client::new().put(url).json(&body).send().await?.error_for_status()?;
        Ok(())
    }

    /// The ids of the events of each run in the order of their first deliveries, without those of mere
    /// changes of place. Each is told once.
    pub async fn announced(&self) -> Result<BTreeMap<String, Vec<String>>> {
        let mut announced: BTreeMap<String, Vec<String>> = BTreeMap::new();
        loop {
            let messages = self.pull(KEPT).await?;
            if messages.is_empty() {
                return Ok(announced);
            }
            for it in &messages {
                let text = |it: &Value| it.as_str().unwrap_or_default().to_owned();
                let message = &it["message"];
                let ids = announced.entry(text(&message["orderingKey"])).or_default();
                let id = text(&message["attributes"]["ce-id"]);
                if id.split('/').count() == 2 && !ids.contains(&id) {
                    ids.push(id);
                }
            }
            self.acknowledge(KEPT, &messages).await?;
        }
    }

    /// Takes everything out of a subscription and tells when each message was published, in order.
    pub async fn published(&self, name: &str) -> Result<Vec<Timestamp>> {
        let mut times = Vec::new();
        loop {
            let messages = self.pull(name).await?;
            if messages.is_empty() {
                times.sort();
                return Ok(times);
            }
            for it in &messages {
                let time = it["message"]["publishTime"].as_str().unwrap_or_default();
                times.push(time.parse()?);
            }
            self.acknowledge(name, &messages).await?;
        }
    }

    /// Acknowledges what was pulled.
    pub async fn acknowledge(&self, name: &str, messages: &[Value]) -> Result<()> {
        let ack_ids: Vec<_> = messages.iter().map(|it| &it["ackId"]).collect();
        let url = format!("{}:acknowledge", self.pubsub(&subscription(PROJECT, name)));
        let body = json!({"ackIds": ack_ids});
        reqwest::Client::new().post(url).json(&body).send().await?.error_for_status()?;
        Ok(())
    }

    /// What waits in a subscription; it is leased for a moment.
    pub async fn pull(&self, name: &str) -> Result<Vec<Value>> {
        let url = format!("{}:pull", self.pubsub(&subscription(PROJECT, name)));
        let body = json!({"maxMessages": 1_000, "returnImmediately": true});
        let answer = reqwest::Client::new().post(url).json(&body).send().await?;
        let answer: Value = answer.error_for_status()?.json().await?;
        Ok(answer["receivedMessages"].as_array().cloned().unwrap_or_default())
    }

    /// All that processes of that name have logged.
    pub fn logs_of(&self, name: &str) -> String {
        let entries = fs::read_dir(self.path("")).into_iter().flatten().flatten();
        let ending = format!("-{name}.log");
        let logs = entries.filter(|it| it.file_name().to_string_lossy().ends_with(&ending));
        logs.map(|it| fs::read_to_string(it.path()).unwrap_or_default()).collect()
    }

    fn pubsub(&self, name: &str) -> String {
        format!("{}/v1/{name}", self.google().pubsub_endpoint.unwrap_or_default())
    }
}

/// A subscription that nobody else reads.
pub const KEPT: &str = "run-events-kept";
