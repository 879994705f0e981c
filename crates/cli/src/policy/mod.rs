//! `branchline policy`: what a policy says about requests, before it is in force.

mod replay;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use branchline_contract::{ArtifactReady, DATA_MAX, DecodeError, Envelope};
use branchline_gitlab::id_token::{GROUPS, NAMES};
use branchline_ledger::{Decided, OPERATOR};
use branchline_policy::{Decision, Facts, FactsError, Policy, Verdict};
use clap::Subcommand;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::env::Environment;
use crate::exit;
use crate::terminal::plain;

/// Bytes of a table of cases.
const CASES_SIZE_MAX: usize = 16 << 20;

const MINIMAL: &str = "\
A minimal policy:
  rules:
    - name: ml-may-train
      match: origin.project_path.startsWith(\"ml/\") && origin.ref_protected == true
      validations:
        - expression: job.accelerators.all(it, it.count <= 8)
          message: at most 8 accelerators a machine
      approval: {merge_request: 1}

A request is allowed when a rule matches and every validation of every rule that matches holds;
what cannot be evaluated does not hold. `match`, `validations` and `approval` may be left out. The
code of a fork is denied unless a rule that matches has `forks: true`, and a dead letter that an
operator edited unless one has `edited: true`: its origin is the operator's word.
Expressions are CEL over these variables; what is not known is null:
  origin     host, project_id, project_path, namespace, sha, ref, ref_protected, pipeline_id,
             job_id, user_login, fork
  claims     the verified claims of the job's ID token, by their names in GitLab; texts, but for
             the list groups_direct; or, of a dead letter that an operator edited, only
             operator, their address
  merge_requests  list of {iid, state, target_branch, author, merged_by, approved_by}: those of
             the commit, with login names; asked of GitLab where an expression names them
  artifacts  list of {name, uri, bucket, size}
  vertex     project, region
  job        kind, machine_types, accelerators [{type, count}], replicas, timeout_seconds, spot,
             service_account, network, network_attachment, reserved_ip_ranges, persistent_resource,
             web_access, packages, images [{uri, registry, digest}], labels";

const CHECK_HELP: &str = "\
The request is the data of a branchline.artifact.ready.v1, alone or as `publish --dry-run` prints it.

Examples:
  branchline publish iris --dry-run > request.json
  branchline policy check --policy policy.yaml request.json --claims claims.json

Exit codes:
  0   allowed                          64  wrong usage
  65  the request is wrong             66  a file cannot be read
  75  allowed once it is approved      77  denied, with all violations
  78  the policy is wrong";

const TEST_HELP: &str = "\
The cases, with a request as a file beside them or written out:
  cases:
    - name: a branch gets no accelerators
      request: branch.json
      claims: {ref_protected: \"false\"}
      expect: denied                   # or allowed, needs-approval
      violations: [without accelerators]  # each part of one violation

Exit codes:
  0   every case is as expected        64  wrong usage
  65  one is not, or is wrong          66  a file cannot be read
  78  the policy is wrong";

/// Try a policy, which decides who may train
#[derive(Debug, clap::Args)]
#[command(after_help = MINIMAL)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Check(Check),
    Test(Test),
    Replay(replay::Args),
}

/// Decide about one request
#[derive(Debug, clap::Args)]
#[command(after_help = CHECK_HELP)]
struct Check {
    /// The policy
    #[arg(long, value_name = "FILE")]
    policy: PathBuf,
    /// The claims of the job's ID token, as JSON, believed as if they were verified
    #[arg(long, value_name = "FILE")]
    claims: Option<PathBuf>,
    /// The merge requests of its commit, as a JSON list
    #[arg(long, value_name = "FILE")]
    merge_requests: Option<PathBuf>,
    /// The request, as JSON
    #[arg(value_name = "REQUEST")]
    request: PathBuf,
}

/// Decide about a table of requests, and compare
#[derive(Debug, clap::Args)]
#[command(after_help = TEST_HELP)]
struct Test {
    /// The policy
    #[arg(long, value_name = "FILE")]
    policy: PathBuf,
    /// The cases, as YAML
    #[arg(value_name = "CASES")]
    cases: PathBuf,
}

/// Why nothing could be decided.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// A file could not be read.
    #[error("reading {0}")]
    Read(String, #[source] io::Error),
    /// The policy is wrong.
    #[error("{0}")]
    Policy(String, #[source] branchline_policy::Error),
    /// It is no request.
    #[error("{0}: the request is wrong")]
    Request(String, #[source] DecodeError),
    /// It is not JSON, or the claims are no object.
    #[error("{0}: expected {1} as JSON")]
    Json(String, &'static str, #[source] Option<serde_json::Error>),
    /// The request cannot be decided about.
    #[error("{0}")]
    Facts(String, #[source] FactsError),
    /// No token says that.
    #[error("{0}: {1}")]
    Claim(String, String),
    /// The table of cases is wrong.
    #[error("{0}: the cases are wrong: {1}")]
    Cases(String, String),
}

impl Error {
    /// What the process ends with.
    pub(crate) const fn exit_code(&self) -> u8 {
        match self {
            Self::Read(..) => exit::NO_INPUT,
            Self::Policy(..) => exit::CONFIG,
            Self::Request(..)
            | Self::Json(..)
            | Self::Facts(..)
            | Self::Claim(..)
            | Self::Cases(..) => exit::DATA,
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Cases {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    /// A path, or the request itself.
    request: Value,
    #[serde(default)]
    claims: Map<String, Value>,
    #[serde(default)]
    merge_requests: Value,
    expect: Decided,
    #[serde(default)]
    violations: Vec<String>,
}

/// Tries a policy.
pub(crate) async fn run(args: &Args, environment: &Environment) -> anyhow::Result<u8> {
    match &args.command {
        Command::Check(args) => check(args),
        Command::Test(args) => test(args),
        Command::Replay(args) => replay::run(args, environment).await,
    }
}

fn check(args: &Check) -> anyhow::Result<u8> {
    let policy = policy(&args.policy)?;
    let claims = args.claims.as_deref().map(claims).transpose()?.unwrap_or_default();
    let merge_requests =
        args.merge_requests.as_deref().map(merge_requests).transpose()?.unwrap_or_default();
    let file = args.request.display().to_string();
    let decision =
        decide(&policy, &read(&args.request, DATA_MAX)?, &claims, merge_requests, &file)?;
    let mut out = io::stdout().lock();
    writeln!(out, "{}", verdict(&decision))?;
    for line in violations(&decision) {
        writeln!(out, "  {line}")?;
    }
    writeln!(out, "rules: {}", plain(&decision.rules.join(", ")))?;
    writeln!(out, "policy: sha256:{}", decision.policy_digest)?;
    Ok(match decision.verdict {
        Verdict::Allowed => 0,
        Verdict::NeedsApproval(_) => exit::TRY_AGAIN,
        Verdict::Denied => exit::NO_PERMISSION,
    })
}

fn test(args: &Test) -> anyhow::Result<u8> {
    let policy = policy(&args.policy)?;
    let file = args.cases.display().to_string();
    let text = read(&args.cases, CASES_SIZE_MAX)?;
    let cases: Cases = serde_saphyr::from_str_with_options(
        &text,
        serde_saphyr::options! { strict_booleans: true, with_snippet: false },
    )
    .map_err(|error| Error::Cases(file.clone(), error.to_string()))?;
    if cases.cases.is_empty() {
        return Err(Error::Cases(file, "there are none".to_owned()).into());
    }
    let beside = args.cases.parent().unwrap_or(Path::new(""));
    let mut out = io::stdout().lock();
    let mut wrong = 0;
    for case in &cases.cases {
        let name = plain(&case.name);
        let text = match &case.request {
            Value::String(path) => read(&beside.join(path), DATA_MAX)?,
            request => request.to_string(),
        };
        let decision = decide(
            &policy,
            &text,
            &case.claims,
            case.merge_requests.clone(),
            &format!("{file}: {name}"),
        )?;
        let differences = differences(case, &decision);
        let word = if differences.is_empty() { "ok" } else { "FAILED" };
        writeln!(out, "{word:<6} {name}: {}", verdict(&decision))?;
        for line in &differences {
            writeln!(out, "       {line}")?;
        }
        wrong += usize::from(!differences.is_empty());
    }
    writeln!(out, "{} cases, {wrong} failed", cases.cases.len())?;
    Ok(if wrong == 0 { 0 } else { exit::DATA })
}

/// What is not as the case expects, and then what was said.
fn differences(case: &Case, decision: &Decision) -> Vec<String> {
    let told = violations(decision);
    let missing = case.violations.iter().filter(|part| !told.iter().any(|it| it.contains(*part)));
    let mut lines: Vec<_> = missing.map(|it| format!("no violation says {it:?}")).collect();
    if decided(decision) != case.expect {
        lines.insert(0, format!("expected {}", case.expect.as_str()));
    }
    if !lines.is_empty() {
        lines.extend(told);
    }
    lines
}

fn decide(
    policy: &Policy,
    request: &str,
    claims: &Map<String, Value>,
    merge_requests: Value,
    place: &str,
) -> Result<Decision, Error> {
    let request = decode(request, place)?;
    for (name, value) in claims {
        possible(name, value).map_err(|it| Error::Claim(place.to_owned(), it))?;
    }
    let facts = Facts::new(&request, Some(claims))
        .and_then(|it| it.with_merge_requests(merge_requests))
        .map_err(|error| Error::Facts(place.to_owned(), error))?;
    Ok(policy.decide(&facts))
}

/// Refuses a claim that the worker never reads: what is decided by it here is not decided so there.
fn possible(name: &str, value: &Value) -> Result<(), String> {
    let shown = plain(name);
    if !NAMES.contains(&name) && name != OPERATOR {
        return Err(format!("there is no claim {shown}; there are {}", NAMES.join(", ")));
    }
    let texts = |it: &Value| it.as_array().is_some_and(|it| it.iter().all(Value::is_string));
    match (name == GROUPS, value) {
        (true, it) if texts(it) => Ok(()),
        (true, _) => Err(format!("the claim {shown} is a list of texts")),
        (false, it) if it.is_string() => Ok(()),
        (false, _) => Err(format!("the claim {shown} is a text, such as \"true\" or \"7\"")),
    }
}

/// A request, alone or with its attributes.
fn decode(text: &str, place: &str) -> Result<ArtifactReady, Error> {
    let json = |error| Error::Json(place.to_owned(), "a request", Some(error));
    let mut value: Value = serde_json::from_str(text).map_err(json)?;
    if let Some(data) = value.get_mut("data").filter(|it| it.is_object()) {
        value = data.take();
    }
    Envelope::decode_artifact_ready(value.to_string().as_bytes(), &BTreeMap::new())
        .map_err(|error| Error::Request(place.to_owned(), error))
}

fn policy(path: &Path) -> Result<Policy, Error> {
    Policy::parse(&read(path, branchline_policy::TEXT_MAX)?)
        .map_err(|error| Error::Policy(path.display().to_string(), error))
}

fn claims(path: &Path) -> Result<Map<String, Value>, Error> {
    let place = || path.display().to_string();
    match serde_json::from_str(&read(path, DATA_MAX)?) {
        Ok(Value::Object(claims)) => Ok(claims),
        Ok(_) => Err(Error::Json(place(), "an object of claims", None)),
        Err(error) => Err(Error::Json(place(), "an object of claims", Some(error))),
    }
}

fn merge_requests(path: &Path) -> Result<Value, Error> {
    let place = || path.display().to_string();
    match serde_json::from_str(&read(path, DATA_MAX)?) {
        Ok(list @ Value::Array(_)) => Ok(list),
        Ok(_) => Err(Error::Json(place(), "a list of merge requests", None)),
        Err(error) => Err(Error::Json(place(), "a list of merge requests", Some(error))),
    }
}

fn read(path: &Path, bytes_max: usize) -> Result<String, Error> {
    let unreadable = |error| Error::Read(path.display().to_string(), error);
    let mut text = String::new();
    let file = File::open(path).map_err(unreadable)?;
    file.take(bytes_max as u64 + 1).read_to_string(&mut text).map_err(unreadable)?;
    if text.len() > bytes_max {
        return Err(unreadable(io::Error::other(format!("it has more than {bytes_max} bytes"))));
    }
    Ok(text)
}

/// As the ledger has it.
fn decided(decision: &Decision) -> Decided {
    match decision.verdict {
        Verdict::Allowed => Decided::Allowed,
        Verdict::NeedsApproval(_) => Decided::NeedsApproval,
        Verdict::Denied => Decided::Denied,
    }
}

fn verdict(decision: &Decision) -> String {
    match decision.verdict {
        Verdict::Allowed => "allowed".to_owned(),
        Verdict::Denied => "denied".to_owned(),
        Verdict::NeedsApproval(it) => {
            let merge_request = (it.merge_request > 0)
                .then(|| format!("merge request approvals: {}", it.merge_request));
            let operators = it.operators.then(|| "an operator".to_owned());
            let wanted: Vec<_> = merge_request.into_iter().chain(operators).collect();
            format!("needs approval: {}", wanted.join(", "))
        }
    }
}

fn violations(decision: &Decision) -> Vec<String> {
    let lines = decision.violations.iter().map(|it| match &it.rule {
        Some(rule) => format!("{rule}: {}", it.message),
        None => it.message.clone(),
    });
    lines.map(|it| plain(&it)).collect()
}
