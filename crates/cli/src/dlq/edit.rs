//! `dlq edit`: another body for a dead letter, in an editor or by a patch.

use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};
use branchline_contract::{Ask, LetterId, Reason, Request};
use branchline_gcp::Config;
use branchline_ledger::{Base64, Verdict};
use serde_json::Value;
use similar::TextDiff;

use super::show::Known;
use super::{Bucket, absent};
use crate::confirm::confirm;
use crate::env::Environment;
use crate::exit;
use crate::operate::{Asker, Common};
use crate::terminal::plain;

const AFTER_HELP: &str = "\
Examples:
  branchline dlq edit ID -m 'the region was misspelt' --patch '{\"vertex\":{\"region\":\"europe-west4\"}}'
  EDITOR=vim branchline dlq edit ID -m 'as the team asked'

Environment:
  BRANCHLINE_DEAD_LETTER_BUCKET, BRANCHLINE_REQUEST_BUCKET, BRANCHLINE_LEDGER_BUCKET
                              the buckets, as in worker.yaml
  BRANCHLINE_OPERATOR_TOKEN   Google ID token of whoever edits; without operators in
                              worker.yaml nobody can edit
  VISUAL, EDITOR              the editor

Exit codes:
  0   edited, or nothing was changed      1   not confirmed
  14  --timeout is over                   65  the patch, or what was edited, cannot be used
  66  there is none of that id            69  refused, with the reason
  75  try again                           77  not allowed
  78  wrong environment";

/// Give a dead letter another body, which is what a replay sends
///
/// The original stays. Whoever edits stands behind what the message then says: its ID token counts
/// no more, and the policy decides on `claims.operator`, the proven address of the editor.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Args {
    /// Its id
    id: LetterId,
    /// A JSON merge patch (RFC 7396) of the body, instead of the editor
    #[arg(long, value_name = "JSON", conflicts_with = "file")]
    patch: Option<String>,
    /// A file with the new body, instead of the editor; - for stdin
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Why; stays on record
    #[arg(long, short, value_name = "TEXT")]
    message: Reason,
    /// Do not ask; needed where there is no terminal
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    bucket: Bucket,
    #[command(flatten)]
    common: Common,
}

/// What was written cannot be a body.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unusable {
    /// It is no JSON.
    #[error("{what} is no JSON")]
    Json {
        /// What is not.
        what: &'static str,
        /// Why not.
        source: serde_json::Error,
    },
    /// It is more than the leader takes.
    #[error("a new body has at most {} bytes", Request::EDIT_BYTES_MAX)]
    Size,
}

pub(super) async fn run(
    args: &Args,
    google: &Config,
    environment: &Environment,
) -> anyhow::Result<u8> {
    let archive = args.bucket.connect(google).await?;
    let Some(known) = Known::read(&archive, &args.id).await? else { return Ok(absent(&args.id)) };
    let (Base64(old), _) = known.newest();
    let new = match (&args.patch, &args.file) {
        (Some(patch), _) => patched(old, patch)?,
        (None, Some(file)) => read(file)?,
        (None, None) => in_editor(old, environment)?,
    };
    if new == old.as_ref() {
        eprintln!("nothing was changed");
        return Ok(0);
    }
    if new.len() > Request::EDIT_BYTES_MAX {
        return Err(Unusable::Size.into());
    }
    let diff = diff(old, &new);
    std::io::stdout().write_all(diff.as_bytes()).context("writing to stdout")?;
    confirm("Replay this body instead?", args.yes)?;
    let asker = Asker::connect(&args.common, google, environment).await?;
    let (letter, new_body) = (known.filed.pick(), new.clone());
    let data = String::from(Base64(new.into()));
    let name = asker.ask(Ask::Edit { letter, data }, &args.message).await?;
    if args.common.no_wait {
        eprintln!("asked, as {}", name.as_str());
        return Ok(0);
    }
    let Some(answer) = asker.answer(&name).await? else { return Ok(asker.waited_too_long(&name)) };
    let edited = answer.verdict == Verdict::Done;
    if edited {
        eprintln!("edited; branchline dlq replay {} --yes sends it", args.id);
        return Ok(0);
    }
    eprintln!("error: {}", plain(&answer.message));
    if let Some(path) = kept(&new_body) {
        eprintln!("note: what was edited lies in {path}, for --file");
    }
    Ok(exit::UNAVAILABLE)
}

/// Where an edit that was refused is not lost.
fn kept(body: &[u8]) -> Option<String> {
    let mut file =
        tempfile::Builder::new().prefix("dead-letter-").suffix(".json").tempfile().ok()?;
    file.write_all(body).ok()?;
    let (_, path) = file.keep().ok()?;
    Some(path.display().to_string())
}

fn read(file: &Path) -> anyhow::Result<Vec<u8>> {
    let mut new = Vec::new();
    let max = Request::EDIT_BYTES_MAX as u64 + 1;
    if file.as_os_str() == "-" {
        std::io::stdin().take(max).read_to_end(&mut new).context("reading stdin")?;
    } else {
        let opened = std::fs::File::open(file);
        let opened = opened.with_context(|| format!("opening {}", file.display()))?;
        opened.take(max).read_to_end(&mut new).context("reading the new body")?;
    }
    Ok(new)
}

/// The body with the patch in it.
fn patched(old: &[u8], patch: &str) -> Result<Vec<u8>, Unusable> {
    let json = |what, source| Unusable::Json { what, source };
    let mut body: Value = serde_json::from_slice(old).map_err(|it| json("the body", it))?;
    let patch: Value = serde_json::from_str(patch).map_err(|it| json("the patch", it))?;
    merge(&mut body, patch);
    Ok(body.to_string().into_bytes())
}

/// RFC 7396: null takes away, objects are merged, anything else replaces.
fn merge(target: &mut Value, patch: Value) {
    let Value::Object(patch) = patch else {
        *target = patch;
        return;
    };
    if !target.is_object() {
        *target = Value::Object(serde_json::Map::new());
    }
    let target = target.as_object_mut().expect("it was made one");
    for (name, value) in patch {
        if value.is_null() {
            target.remove(&name);
        } else {
            merge(target.entry(name).or_insert(Value::Null), value);
        }
    }
}

/// What the editor leaves. JSON is shown in lines, and what comes back unchanged is no change.
fn in_editor(old: &[u8], environment: &Environment) -> anyhow::Result<Vec<u8>> {
    let get = |name: &str| environment.get(name).filter(|it| !it.is_empty());
    let editor = get("VISUAL").or_else(|| get("EDITOR")).map_or("vi", String::as_str);
    let shown = lines_of(old);
    let mut file = tempfile::Builder::new().prefix("dead-letter-").suffix(".json").tempfile()?;
    file.write_all(&shown).context("writing the body for the editor")?;
    // As git does, so that EDITOR may have arguments.
    let status = Command::new("sh")
        .arg("-c")
        .arg(format!("{editor} \"$@\""))
        .arg(editor)
        .arg(file.path())
        .status()
        .with_context(|| format!("starting {editor}"))?;
    ensure!(status.success(), "{editor} ended with {status}");
    let left = read(file.path())?;
    Ok(if left == shown { old.to_vec() } else { left })
}

fn lines_of(body: &[u8]) -> Vec<u8> {
    match serde_json::from_slice::<Value>(body) {
        Ok(value) => format!("{value:#}\n").into_bytes(),
        Err(_) => body.to_vec(),
    }
}

/// What changes, in lines, without control characters.
fn diff(old: &[u8], new: &[u8]) -> String {
    let text = |it: &[u8]| String::from_utf8_lossy(&lines_of(it)).into_owned();
    let (old, new) = (text(old), text(new));
    let diff = TextDiff::from_lines(&old, &new);
    let diff =
        diff.unified_diff().context_radius(2).header("as it is", "as it would be").to_string();
    diff.lines().flat_map(|it| [plain(it), "\n".to_owned()]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    #[test]
    fn a_patch_merges_replaces_and_takes_away() {
        let cases = [
            (r#"{"a":1,"b":{"c":2,"d":3}}"#, r#"{"b":{"c":4}}"#, r#"{"a":1,"b":{"c":4,"d":3}}"#),
            (r#"{"a":1,"b":2}"#, r#"{"b":null}"#, r#"{"a":1}"#),
            (r#"{"a":[1,2]}"#, r#"{"a":[3]}"#, r#"{"a":[3]}"#),
            (r#"{"a":1}"#, r#"{"a":{"b":{"c":null,"d":1}}}"#, r#"{"a":{"b":{"d":1}}}"#),
            (r#"{"a":1}"#, "[1]", "[1]"),
        ];
        for (old, patch, expected) in cases {
            let new = patched(old.as_bytes(), patch).unwrap();
            assert_eq!(String::from_utf8(new).unwrap(), expected, "{patch}");
        }
        for (old, patch, expected) in
            [("\u{0}", "{}", "the body is no JSON"), ("{}", "{", "the patch is no JSON")]
        {
            assert_eq!(patched(old.as_bytes(), patch).unwrap_err().to_string(), expected);
        }
    }

    #[test]
    fn a_difference_is_shown_by_lines() {
        expect![[r#"
            --- as it is
            +++ as it would be
            @@ -1,4 +1,4 @@
             {
               "a": 1,
            -  "b": 2
            +  "b": 3
             }
        "#]]
        .assert_eq(&diff(br#"{"a":1,"b":2}"#, br#"{"a":1,"b":3}"#));
        assert!(diff(b"\xff\x1b[2J", b"{}").contains('\u{fffd}'));
    }
}
