//! What a log entry says, whatever the form of its payload. Pure.

use crate::call::timestamp;
use google_cloud_logging_v2::model;
use google_cloud_logging_v2::model::log_entry::Payload;
use google_cloud_wkt::{Struct, Value};
use jiff::Timestamp;

/// Bytes of one entry's text; Cloud Logging takes entries of up to 256 KiB.
const TEXT_MAX: usize = 256 << 10;

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEntry {
    /// Unique among the entries of one time and log.
    pub insert_id: String,
    /// When it happened, by the clock of whoever wrote it.
    pub time: Option<Timestamp>,
    /// When Cloud Logging got it.
    pub received: Option<Timestamp>,
    /// How bad it is, in Cloud Logging's words; empty where nobody said.
    pub severity: String,
    /// Job that it belongs to, where its resource names one.
    pub job_id: Option<String>,
    /// The replica that wrote it, such as `workerpool0-0`.
    pub task: Option<String>,
    /// What it says. Foreign text.
    pub text: String,
}

impl From<model::LogEntry> for LogEntry {
    fn from(entry: model::LogEntry) -> Self {
        let mut labels = entry.resource.map(|it| it.labels).unwrap_or_default();
        let severity = entry.severity.name().filter(|it| *it != "DEFAULT").unwrap_or_default();
        Self {
            severity: severity.to_owned(),
            time: timestamp(entry.timestamp),
            received: timestamp(entry.receive_timestamp),
            job_id: labels.remove("job_id").or_else(|| labels.remove("pipeline_job_id")),
            task: labels.remove("task_name"),
            text: cut(entry.payload.map(text).unwrap_or_default()),
            insert_id: entry.insert_id,
        }
    }
}

/// Training code that logs JSON has its text in `message`.
fn text(payload: Payload) -> String {
    match payload {
        Payload::TextPayload(text) => text,
        Payload::JsonPayload(fields) => message(*fields),
        Payload::ProtoPayload(any) => any.type_url().unwrap_or_default().to_owned(),
        // Google may add forms; one that is not known says nothing here.
        _ => String::new(),
    }
}

fn message(mut fields: Struct) -> String {
    // The type of Google's own events; no reader needs it.
    fields.remove("@type");
    match fields.remove("message") {
        Some(Value::String(text)) => text,
        Some(other) => {
            fields.insert("message".to_owned(), other);
            Value::Object(fields).to_string()
        }
        None => Value::Object(fields).to_string(),
    }
}

fn cut(mut text: String) -> String {
    let end = (0..=TEXT_MAX.min(text.len())).rev().find(|it| text.is_char_boundary(*it));
    text.truncate(end.unwrap_or_default());
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use google_cloud_logging_v2::model::LogEntry as Sdk;
    use serde_json::json;

    #[test]
    fn every_form_of_payload_is_read() {
        let object = |value: serde_json::Value| value.as_object().unwrap().clone();
        let cases = [
            (Sdk::new().set_text_payload("epoch 1"), "epoch 1"),
            (
                Sdk::new()
                    .set_json_payload(object(json!({"message": "epoch 2", "levelname": "INFO"}))),
                "epoch 2",
            ),
            (
                Sdk::new().set_json_payload(object(json!({"message": {"a": 1}}))),
                r#"{"message":{"a":1}}"#,
            ),
            (
                Sdk::new().set_json_payload(object(
                    json!({"@type": "type.googleapis.com/x", "state": "RUNNING"}),
                )),
                r#"{"state":"RUNNING"}"#,
            ),
            (Sdk::new(), ""),
        ];
        for (entry, expected) in cases {
            assert_eq!(LogEntry::from(entry).text, expected);
        }
        let long = Sdk::new().set_text_payload("ü".repeat(TEXT_MAX));
        assert_eq!(LogEntry::from(long).text.len(), TEXT_MAX);
    }
}
