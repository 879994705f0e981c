//! `policy replay`: what a policy would have said of the runs on record.

use std::io::{self, BufWriter, Write as _};
use std::path::PathBuf;
use std::pin::pin;

use branchline_contract::ArtifactReady;
use branchline_ledger::{Body, Decided, Entry, Grounds, Stored};
use branchline_policy::{Facts, Policy};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::json;

use super::{decided, policy, violations};
use crate::audit::{Ledger, is_within, moment};
use crate::env::{self, Environment};
use crate::exit;
use crate::operate::Misplaced;
use crate::terminal::{self, plain};

const AFTER_HELP: &str = "\
Example:
  branchline policy replay --policy new.yaml --since 2026-11-01

Environment:
  BRANCHLINE_CREDENTIALS          application_default (the default) or anonymous
  BRANCHLINE_STORAGE_ENDPOINT     instead of Google's own

Exit codes:
  0   no decision would be another     64  wrong usage
  65  some would, or cannot be read    66  a file or bucket is missing
  69  refused                          75  try again
  77  not allowed                      78  the policy or the environment is wrong";

/// Decide again about the runs on record, and tell what would be decided otherwise
///
/// Every decision in the ledger is taken again, from the same request and the claims that were
/// proven then. It only reads.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Args {
    /// The policy
    #[arg(long, value_name = "FILE")]
    policy: PathBuf,
    /// Only runs with a fact from then on: a time such as 2026-11-23T12:00:00Z, or a date in UTC
    #[arg(long, value_name = "TIME", value_parser = moment)]
    since: Option<Timestamp>,
    /// Print what would be decided otherwise as lines of JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    ledger: Ledger,
}

/// A decision that would be another.
#[derive(Debug, Serialize)]
struct Change {
    run: String,
    attempt: u32,
    project_path: String,
    user_login: String,
    was: Decided,
    now: Decided,
    rules: Vec<String>,
    violations: Vec<String>,
}

#[derive(Debug, Default)]
struct Report {
    decisions: usize,
    changes: usize,
    /// Objects that are no facts.
    unread: usize,
}

pub(super) async fn run(args: &Args, environment: &Environment) -> anyhow::Result<u8> {
    let policy = policy(&args.policy)?;
    let google = env::google(environment).map_err(Misplaced)?;
    let trail = args.ledger.connect(&google).await?;
    let since = args.since.unwrap_or(Timestamp::MIN);
    let mut out = BufWriter::new(io::stdout());
    let mut report = Report::default();
    let mut runs = pin!(trail.runs());
    while let Some(run) = runs.try_next().await? {
        if !run.iter().any(|it| is_within(it, since, None)) {
            continue;
        }
        let facts: Vec<Stored> = trail.read(stream::iter(run).map(Ok)).try_collect().await?;
        for change in report.judge(&policy, &facts) {
            if args.json {
                writeln!(out, "{}", terminal::json(&change))?;
            } else {
                tell(&mut out, &change)?;
            }
        }
    }
    let Report { decisions, changes, unread } = report;
    if !args.json {
        writeln!(out, "{decisions} decisions on record, {changes} would be another")?;
    }
    out.flush()?;
    if unread > 0 {
        eprintln!("error: {unread} objects are no facts; `branchline audit verify` names them");
    }
    Ok(if changes + unread == 0 { 0 } else { exit::DATA })
}

fn tell(out: &mut impl io::Write, change: &Change) -> io::Result<()> {
    let Change { run, attempt, project_path, user_login, was, now, .. } = change;
    let (was, now) = (was.as_str(), now.as_str());
    let login = plain(user_login);
    writeln!(out, "{run} attempt {attempt} of {project_path}, {login} asked: {was} -> {now}")?;
    change.violations.iter().try_for_each(|it| writeln!(out, "  {it}"))
}

impl Report {
    /// Decides again wherever the facts of a run tell of a decision.
    fn judge(&mut self, policy: &Policy, facts: &[Stored]) -> Vec<Change> {
        let mut asked: Option<Box<ArtifactReady>> = None;
        let mut changes = Vec::new();
        for stored in facts {
            let Ok(Entry { fact, .. }) = Entry::decode(&stored.bytes) else {
                self.unread += 1;
                continue;
            };
            match (fact.body, &asked) {
                (
                    Body::Requested { request, .. } | Body::Retried { request: Some(request), .. },
                    _,
                ) => asked = Some(request),
                (Body::Retried { operator: Some(operator), .. }, Some(request)) => {
                    self.decisions += 1;
                    let grounds = *operator.grounds;
                    changes.extend(again(policy, request, &grounds, (stored, fact.attempt)));
                }
                (
                    Body::Verified { grounds: Some(grounds), .. }
                    | Body::Rejected { grounds: Some(grounds), .. },
                    Some(request),
                ) => {
                    self.decisions += 1;
                    changes.extend(again(policy, request, &grounds, (stored, fact.attempt)));
                }
                _ => {}
            }
        }
        self.changes += changes.len();
        changes
    }
}

/// What is decided otherwise now.
fn again(
    policy: &Policy,
    request: &ArtifactReady,
    grounds: &Grounds,
    (stored, attempt): (&Stored, u32),
) -> Option<Change> {
    let user_login = grounds.claims.get("user_login").cloned().unwrap_or_default();
    let claims = branchline_policy::claims(&grounds.claims, grounds.groups_direct.as_deref());
    let facts = Facts::new(request, Some(&claims))
        .and_then(|it| it.with_merge_requests(json!(grounds.merge_requests)));
    let (now, rules, violations) = match facts {
        Ok(facts) => {
            let decision = policy.decide(&facts);
            (decided(&decision), decision.rules.clone(), violations(&decision))
        }
        Err(error) => (Decided::Denied, Vec::new(), vec![plain(&error.to_string())]),
    };
    // The run is the directory that its facts lie in.
    let run = stored.object.rsplit('/').nth(1).unwrap_or_default();
    (now != grounds.decided).then(|| Change {
        run: plain(run),
        attempt,
        project_path: request.gitlab.project_path.to_string(),
        user_login,
        was: grounds.decided,
        now,
        rules,
        violations,
    })
}
