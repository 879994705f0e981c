//! `dlq show`: one dead letter, what happened to it, its run, and what a replay would do.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::Arc;

use anyhow::Context as _;
use branchline_contract::{DATA_MAX, Envelope, LetterId, RunId};
use branchline_gcp::Config;
use branchline_gcp::storage::Storage;
use branchline_ledger::{
    Act, Archive, Base64, Deed, Filed, FiledAct, History, LETTER_BYTES_MAX, Letter, Origin, Role,
    Store,
};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::outlook::outlook;
use super::{AFTER_HELP, Bucket, absent};
use crate::audit::detail;
use crate::terminal::{self, plain};

/// As much of a body as is shown; all of it is in the export.
const SHOWN_MAX: usize = 64 << 10;

/// Show a dead letter, what happened to it, and what a replay would do
///
/// With the bucket of the ledger, the facts of its run stand beside it.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Args {
    /// Its id
    id: LetterId,
    /// Print one line of JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    bucket: Bucket,
    /// Bucket of the run ledger
    #[arg(long, value_name = "BUCKET", env = "BRANCHLINE_LEDGER_BUCKET")]
    ledger_bucket: Option<String>,
}

/// All that is known of one letter.
pub(super) struct Known {
    pub(super) filed: Filed,
    pub(super) letter: Letter,
    /// By position.
    pub(super) acts: BTreeMap<u32, Act>,
}

impl Known {
    pub(super) async fn read(archive: &Archive, id: &LetterId) -> anyhow::Result<Option<Self>> {
        match archive.find(id).await? {
            Some(filed) => Self::of(archive, filed).await,
            None => Ok(None),
        }
    }

    /// All of what was listed, unless it has been deleted since.
    pub(super) async fn of(archive: &Archive, filed: Filed) -> anyhow::Result<Option<Self>> {
        let letter = archive.letter(&filed.id, LETTER_BYTES_MAX).await?;
        let Some(letter) = letter else { return Ok(None) };
        let mut acts = BTreeMap::new();
        for FiledAct { position, .. } in &filed.acts {
            let act = archive.acted(&filed.id, *position, LETTER_BYTES_MAX).await?;
            acts.extend(act.map(|it| (*position, it)));
        }
        Ok(Some(Self { filed, letter, acts }))
    }

    /// The body that a replay sends, and who stands behind it.
    pub(super) fn newest(&self) -> (&Base64, Origin) {
        let edit = self.acts.values().rev().find_map(|it| match &it.deed {
            Deed::Edited { data, editor, .. } => {
                Some((data, Origin::Operator { email: editor.clone() }))
            }
            Deed::Replayed { .. } | Deed::Refused { .. } | Deed::Discarded {} => None,
        });
        edit.unwrap_or_else(|| (&self.letter.data, self.letter.origin.clone()))
    }

    /// The run that a replay would be about: that of an edit, where there is one.
    fn run(&self) -> Option<(u64, RunId)> {
        let (data, _) = self.newest();
        let request = Envelope::decode_artifact_ready(&data.0, &self.letter.attributes);
        match request {
            Ok(request) if self.letter.role == Role::Worker => {
                Some((request.gitlab.project_id, RunId::derive(&request).0))
            }
            Ok(_) | Err(_) => self.filed.project_id.zip(self.filed.run.clone()),
        }
    }
}

pub(super) async fn run(args: &Args, google: &Config) -> anyhow::Result<u8> {
    let storage = Arc::new(Storage::connect(google).await?);
    let archive = Archive::new(storage.clone(), args.bucket.dead_letter_bucket.clone());
    let Some(known) = Known::read(&archive, &args.id).await? else { return Ok(absent(&args.id)) };
    let store =
        args.ledger_bucket.as_ref().map(|it| Store::new(storage, it.clone(), Timestamp::now));
    let history = match (&store, known.run()) {
        (Some(store), Some((project_id, run))) => store.load(project_id, &run).await?,
        _ => None,
    };
    let outlook = foresee(&known, history.as_ref(), store.is_some());
    let text = if args.json {
        terminal::json(&as_json(&known, history.as_ref(), &outlook)) + "\n"
    } else {
        as_text(&known, history.as_ref(), &outlook)
    };
    std::io::stdout().write_all(text.as_bytes()).context("writing to stdout")?;
    Ok(0)
}

fn foresee(known: &Known, history: Option<&History>, has_ledger: bool) -> String {
    let (data, origin) = known.newest();
    let decoded = (known.letter.role == Role::Worker)
        .then(|| Envelope::decode_artifact_ready(&data.0, &known.letter.attributes));
    let job_id = match decoded {
        Some(Err(error)) => return format!("a replay would be refused: {error}; edit it first"),
        Some(Ok(request)) => Some(request.gitlab.job_id),
        None => None,
    };
    if !has_ledger {
        return "not known: name the ledger's bucket (BRANCHLINE_LEDGER_BUCKET)".to_owned();
    }
    let run = history.map(|it| &it.run);
    let ended = run.and_then(|it| it.ending().map(|_| it.recorded_at));
    outlook(&known.letter, &origin, run, ended, job_id)
}

fn as_text(known: &Known, history: Option<&History>, outlook: &str) -> String {
    let Known { filed, letter, acts } = known;
    let mut text = String::new();
    let mut line = |name: &str, value: &str| {
        if !value.is_empty() {
            writeln!(text, "{name:<16}{}", plain(value)).expect("a string takes everything");
        }
    };
    line("id", letter.id.as_str());
    line("state", filed.state());
    line("reason", &format!("{} ({})", letter.reason, letter.class));
    line("detail", &letter.detail);
    line("role", letter.role.as_str());
    line("came from", letter.subscription.as_deref().unwrap_or_default());
    line("goes to", &letter.topic);
    line("first published", &letter.first_published.to_string());
    line("attempts", &letter.attempts.map(|it| it.to_string()).unwrap_or_default());
    line("origin", &origin(&letter.origin));
    let run = known.run().map(|(_, run)| run.to_string());
    line("run", &run.unwrap_or_else(|| super::list::about(filed)));
    if let Some(sent) = &letter.replay_of {
        line("came back from", &format!("{sent}, replayed {} times", letter.replays));
    }
    line("on replay", outlook);
    for (position, act) in acts {
        let when = act.time.strftime("%Y-%m-%d %H:%M:%S");
        let mut who = format!("{} by {} at {when}: {}", act.deed.kind(), act.actor, act.reason);
        if let Deed::Refused { why } = &act.deed {
            who = format!("refused at {when}: {why}");
        }
        line(&format!("then ({position})"), &who);
    }
    for (name, value) in &letter.attributes {
        line("attribute", &format!("{name}: {value}"));
    }
    line("ordering key", &letter.ordering_key);
    let (data, _) = known.newest();
    let edited = if data == &letter.data { "" } else { ", as edited" };
    line("body", &format!("{} bytes{edited}", data.0.len()));
    text.push('\n');
    text.push_str(&body(&data.0));
    if let Some(history) = history {
        text.push_str("\nthe run's ledger\n");
        for it in &history.entries {
            let when = it.fact.time.strftime("%Y-%m-%d %H:%M:%S");
            let (kind, detail) = (it.fact.body.kind(), plain(&detail(&it.fact.body)));
            writeln!(text, "{:>6}  {when}  {kind:<16}  {detail}", it.fact.sequence)
                .expect("a string takes everything");
        }
    }
    text
}

fn origin(it: &Origin) -> String {
    match it {
        Origin::Proven { proven, .. } => {
            let claim = |name: &str| proven.claims.get(name).map_or("?", String::as_str);
            format!(
                "proven: CI job {} of {}, started by {}",
                claim("job_id"),
                claim("job_project_path"),
                claim("user_login")
            )
        }
        Origin::Operator { email } => format!("written by the operator {email}"),
        Origin::Unproven { why } => format!("not proven: {why}"),
    }
}

/// JSON in lines, other text as it is, and what is neither as a dump; never a control character.
fn body(data: &[u8]) -> String {
    let small = data.len() <= DATA_MAX;
    let value = small.then(|| serde_json::from_slice::<Value>(data).ok()).flatten();
    let text = match (value, std::str::from_utf8(data)) {
        (Some(value), _) => serde_json::to_string_pretty(&value).expect("it was JSON"),
        (None, Ok(text)) => text.to_owned(),
        (None, Err(_)) => dump(data),
    };
    let end = text.floor_char_boundary(SHOWN_MAX);
    let lines = text[..end].lines();
    let mut shown: String = lines.flat_map(|it| [plain(it), "\n".to_owned()]).collect();
    if end < text.len() {
        shown.push_str("… (dlq export has all of it)\n");
    }
    shown
}

fn dump(data: &[u8]) -> String {
    let mut text = String::new();
    for (number, bytes) in data.chunks(16).take(SHOWN_MAX / 64).enumerate() {
        let shown = |it: &u8| if it.is_ascii_graphic() { char::from(*it) } else { '.' };
        let printed: String = bytes.iter().map(shown).collect();
        writeln!(text, "{:08x}  {:<47}  {printed}", number * 16, hex_of(bytes))
            .expect("a string takes everything");
    }
    text
}

fn hex_of(bytes: &[u8]) -> String {
    bytes.iter().map(|it| format!("{it:02x}")).collect::<Vec<_>>().join(" ")
}

fn as_json(known: &Known, history: Option<&History>, outlook: &str) -> Value {
    json!({
        "letter": known.letter,
        "state": known.filed.state(),
        "acts": known.acts.values().collect::<Vec<_>>(),
        "on_replay": outlook,
        "ledger": history.map(|it| it.entries.iter().map(|it| &it.fact).collect::<Vec<_>>()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    #[test]
    fn a_body_is_shown_whatever_it_is() {
        expect![[r#"
            {
              "a": 1
            }
        "#]]
        .assert_eq(&body(br#"{"a":1}"#));
        assert_eq!(body(b"two\nlines \x1b[2J"), "two\nlines  [2J\n");
        expect![[r"
            00000000  ff 00 61 62                                      ..ab
        "]]
        .assert_eq(&body(b"\xff\x00ab"));
        assert!(body(&vec![b'x'; 1 << 20]).ends_with("(dlq export has all of it)\n"));
        assert_eq!(body(b""), "");
    }
}
