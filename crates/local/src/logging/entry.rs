//! One log entry, and its JSON. Pure.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Value, json};

/// What an entry costs beside its text.
const COST: usize = 256;

/// Severities, from the least one on, by Google's numbers.
const SEVERITIES: [(&str, u16); 9] = [
    ("DEFAULT", 0),
    ("DEBUG", 100),
    ("INFO", 200),
    ("NOTICE", 300),
    ("WARNING", 400),
    ("ERROR", 500),
    ("CRITICAL", 600),
    ("ALERT", 700),
    ("EMERGENCY", 800),
];

/// A log entry.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    /// Number of the project that it belongs to.
    pub(crate) project: String,
    /// Its log, within the project.
    pub(crate) log: String,
    /// What wrote it: a type, and labels that say which one.
    pub(crate) resource: (&'static str, BTreeMap<&'static str, String>),
    pub(crate) severity: &'static str,
    pub(crate) payload: Payload,
    /// The rest is the service's to say.
    pub(super) timestamp: Timestamp,
    pub(super) receive_timestamp: Timestamp,
    pub(super) insert_id: String,
}

/// What an entry says.
#[derive(Clone, Debug)]
pub(crate) enum Payload {
    Text(String),
    Json(Value),
}

impl Entry {
    /// An entry of a project, which the service has not taken in yet.
    pub(crate) fn new(project: &str, log: &str, severity: &'static str, payload: Payload) -> Self {
        Self {
            project: project.to_owned(),
            log: log.to_owned(),
            resource: ("global", BTreeMap::new()),
            severity,
            payload,
            timestamp: Timestamp::UNIX_EPOCH,
            receive_timestamp: Timestamp::UNIX_EPOCH,
            insert_id: String::new(),
        }
    }

    /// The same of a resource.
    pub(crate) fn of(
        mut self,
        kind: &'static str,
        labels: impl IntoIterator<Item = (&'static str, String)>,
    ) -> Self {
        let project = [("project_id", self.project.clone())];
        self.resource = (kind, labels.into_iter().chain(project).collect());
        self
    }

    /// Whether its text holds this one.
    pub(super) fn holds(&self, text: &str) -> bool {
        match &self.payload {
            Payload::Text(own) => own.contains(text),
            Payload::Json(_) => text.is_empty(),
        }
    }

    pub(super) fn bytes(&self) -> usize {
        let payload = match &self.payload {
            Payload::Text(text) => text.len(),
            Payload::Json(value) => value.to_string().len(),
        };
        payload + COST
    }

    /// As the API shows it. Enums are names: clients read both.
    pub(super) fn json(&self) -> Value {
        let (kind, labels) = &self.resource;
        let mut entry = json!({
            "insertId": self.insert_id,
            "logName": format!("projects/{}/logs/{}", self.project, self.log),
            "resource": {"type": kind, "labels": labels},
            "severity": self.severity,
            "timestamp": time(self.timestamp),
            "receiveTimestamp": time(self.receive_timestamp),
        });
        let (field, value) = match &self.payload {
            Payload::Text(text) => ("textPayload", Value::from(text.as_str())),
            Payload::Json(value) => ("jsonPayload", value.clone()),
        };
        entry[field] = value;
        entry
    }
}

/// What Python's client reads has no more digits than this.
fn time(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()
}

/// How bad a severity is, by its name in any case.
pub(super) fn severity(name: &str) -> Option<u16> {
    let known = SEVERITIES.iter().find(|(it, _)| it.eq_ignore_ascii_case(name));
    known.map(|(_, number)| *number)
}
