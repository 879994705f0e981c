//! One fact as one line: JSON, or CSV with flat columns. Pure.

use branchline_contract::Sha256;
use branchline_ledger::{Body, Entry, Fact, FactName, Stored};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

use super::detail::detail;
use crate::terminal;

/// The first line of a CSV export.
pub(super) const HEADINGS: &str = "project_id,run,sequence,attempt,time,stored_at,actor,cause,kind,details,body,previous,sha256\r\n";

/// A fact, and where it lies. `fact` is written with the bytes of the object, so
/// that whoever has the line can compute `sha256` again.
#[derive(Debug, Serialize)]
pub(super) struct Row<'a> {
    object: &'a str,
    project_id: u64,
    run: String,
    stored_at: Option<Timestamp>,
    sha256: Sha256,
    pub(super) fact: Fact,
}

impl<'a> Row<'a> {
    /// The fact in an object, or why there is none.
    pub(super) fn read(stored: &'a Stored) -> Result<Self, String> {
        let object = stored.object.as_str();
        let name = FactName::parse(object)
            .ok_or_else(|| format!("{object}: this is not the name of a fact"))?;
        let Entry { fact, sha256 } =
            Entry::decode(&stored.bytes).map_err(|error| format!("{object}: {error}"))?;
        let (project_id, run) = (name.project_id, name.run.to_string());
        Ok(Self { object, project_id, run, stored_at: stored.created, sha256, fact })
    }

    /// The line, without its end.
    pub(super) fn json(&self) -> String {
        terminal::json(self)
    }

    /// The line, with its end.
    pub(super) fn csv(&self) -> String {
        let fact = &self.fact;
        let text = |it: Option<String>| it.unwrap_or_default();
        let columns = [
            self.project_id.to_string(),
            self.run.clone(),
            fact.sequence.to_string(),
            fact.attempt.to_string(),
            fact.time.to_string(),
            text(self.stored_at.map(|it| it.to_string())),
            fact.actor.clone(),
            fact.cause.clone(),
            fact.body.kind().to_owned(),
            detail(&fact.body),
            content(&fact.body),
            text(fact.previous.map(|it| it.to_string())),
            self.sha256.to_string(),
        ];
        columns.map(|it| field(&it)).join(",") + "\r\n"
    }
}

/// What is inside the kind, as JSON.
fn content(body: &Body) -> String {
    let body = serde_json::to_value(body).expect("a fact is plain data");
    body.get("body").map(Value::to_string).unwrap_or_default()
}

/// A field of RFC 4180. A spreadsheet takes what begins like a formula for one,
/// also behind quotes, so that is made text; so is what such a sign could follow.
fn field(text: &str) -> String {
    let formula = text.starts_with(['=', '+', '-', '@', '\t', '\r', '\n', '＝', '＋', '－', '＠']);
    let text = if formula { format!("'{text}") } else { text.to_owned() };
    if text.contains([',', '"', '\r', '\n']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(actor: &str) -> Stored {
        let fact = serde_json::json!({
            "sequence": 3, "previous": Sha256::of(b""), "nonce": "0", "actor": actor,
            "time": "2026-11-23T12:00:00Z", "cause": "message 1", "attempt": 1,
            "kind": "rejected", "body": {"reasons": ["a, \"b\"", "c\nd"]},
        });
        Stored {
            object: "runs/7/iris-0123456789abcdef0123/000003.json".to_owned(),
            created: None,
            bytes: fact.to_string().into(),
        }
    }

    #[test]
    fn a_field_is_quoted_where_it_has_to_be_and_never_a_formula() {
        let cases = [
            ("", ""),
            ("plain text", "plain text"),
            ("a,b", "\"a,b\""),
            ("say \"no\"", "\"say \"\"no\"\"\""),
            ("two\nlines", "\"two\nlines\""),
            ("=1+1", "'=1+1"),
            ("+1", "'+1"),
            ("-1", "'-1"),
            ("@SUM(A1)", "'@SUM(A1)"),
            ("=HYPERLINK(\"a\",\"b\")", "\"'=HYPERLINK(\"\"a\"\",\"\"b\"\")\""),
            ("\t=1", "'\t=1"),
            ("\r=1", "\"'\r=1\""),
            ("＝1", "'＝1"),
            ("a=1", "a=1"),
        ];
        for (text, expected) in cases {
            assert_eq!(field(text), expected, "{text:?}");
        }
    }

    #[test]
    fn a_line_has_as_many_fields_as_there_are_headings() {
        let stored = stored("=cmd()");
        let line = Row::read(&stored).unwrap().csv();
        assert!(line.contains(",'=cmd(),message 1,rejected,\"a, \"\"b\"\"; c\nd\","), "{line}");
        let mut quoted = false;
        let commas = line.chars().filter(|it| {
            quoted ^= *it == '"';
            *it == ',' && !quoted
        });
        assert_eq!(commas.count(), HEADINGS.matches(',').count());
    }

    #[test]
    fn the_hash_can_be_computed_again_from_a_line_of_json() {
        let mut stored = stored("worker");
        let fact = Entry::decode(&stored.bytes).unwrap().fact;
        stored.bytes = fact.encode();
        let line = Row::read(&stored).unwrap().json();
        assert!(!line.contains('\n'), "{line}");
        let line: Value = serde_json::from_str(&line).unwrap();
        let hash = Sha256::of(line["fact"].to_string().as_bytes());
        assert_eq!(line["sha256"], hash.to_string());
    }

    #[test]
    fn what_is_no_fact_is_no_line() {
        for (object, bytes) in
            [("runs/7/x", stored("a").bytes), (&stored("a").object, b"<html>".to_vec())]
        {
            let stored = Stored { object: object.to_owned(), created: None, bytes };
            let why = Row::read(&stored).unwrap_err();
            assert!(why.starts_with(object), "{why}");
        }
    }
}
