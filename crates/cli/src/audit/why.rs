//! `audit why`: from a job in Vertex AI to the run and the attempt that it belongs to.
//!
//! A job of ours carries run, project and intent as labels, so one read of the
//! job leads to one run, and no fact of another has to be read; a job whose
//! create call got no answer is found that way too. Labels are only a hint:
//! whoever may create jobs can write them, so the run's ledger has to hold the
//! intent. A job that is gone from Vertex AI is looked for in the ledger.

use std::future::ready;
use std::io::Write as _;
use std::pin::pin;

use anyhow::Context as _;
use branchline_contract::{JobKind, RunId};
use branchline_gcp::vertex::{Job, Jobs as _, Vertex};
use branchline_gcp::{Class, Config};
use branchline_ledger::{Body, Entry, FactName, Stored, Trail};
use branchline_worker::{LABEL_INTENT, LABEL_PROJECT, LABEL_RUN};
use futures::TryStreamExt as _;
use jiff::Timestamp;

use super::moment::{is_within, moment};
use super::show::tell;
use super::{AFTER_HELP, Ledger, absent};
use crate::exit;
use crate::style::Style;
use crate::terminal::plain;

/// A sign of life now and then.
const TELL_EVERY: usize = 1_000;

/// Show the run that a Vertex AI job belongs to
///
/// The job's labels name the run, and the run's ledger has to agree. With --since Vertex AI is not
/// asked: every fact from then on is read until one names the job. That finds jobs that were
/// deleted, and it needs no permission but to read the ledger.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Args {
    /// The job's resource name, projects/PROJECT/locations/REGION/customJobs/ID
    #[arg(value_name = "VERTEX_JOB", value_parser = job_name)]
    job: JobName,
    /// Look in the facts from then on: a time such as 2026-11-23T12:00:00Z, or a date in UTC
    #[arg(long, value_name = "TIME", value_parser = moment)]
    since: Option<Timestamp>,
    /// Print the facts as lines of JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    ledger: Ledger,
}

#[derive(Clone, Debug)]
struct JobName {
    kind: JobKind,
    name: String,
}

/// The run of a job, and the attempt.
struct Found {
    facts: Vec<Stored>,
    run: RunId,
    attempt: u32,
    role: &'static str,
}

pub(super) async fn run(args: &Args, google: &Config, style: Style) -> anyhow::Result<u8> {
    let trail = args.ledger.connect(google).await?;
    let found = match args.since {
        Some(since) => search(&trail, &args.job, since).await?,
        None => ask(&trail, &args.job, google).await?,
    };
    let found = match found {
        Ok(found) => found,
        Err(code) => return Ok(code),
    };
    let Found { facts, run, attempt, role } = found;
    let line = format!("{} is {role} of attempt {attempt} of run {run}", args.job.name);
    if args.json {
        eprintln!("{line}");
    } else {
        writeln!(std::io::stdout(), "{line}\n").context("writing to stdout")?;
    }
    tell(facts, args.json, style)
}

/// Goes by the job's labels.
async fn ask(
    trail: &Trail,
    JobName { kind, name }: &JobName,
    google: &Config,
) -> anyhow::Result<Result<Found, u8>> {
    let job = match Vertex::connect(google).await?.get(*kind, name).await {
        Ok(job) => job,
        Err(error) if error.class() == Class::NotFound => {
            let hint = "was it deleted? --since looks for it in the ledger";
            return Ok(Err(absent(&format!("Vertex AI knows no job {name}; {hint}"))));
        }
        Err(error) => return Err(error.into()),
    };
    let Some((project_id, run, nonce)) = labels(&job) else {
        return Ok(Err(absent(&format!("{name} carries no labels of a run"))));
    };
    let facts = trail.run(project_id, &run).await?;
    let entries: Vec<Entry> = facts.iter().filter_map(|it| Entry::decode(&it.bytes).ok()).collect();
    let intended = entries
        .iter()
        .find(|it| matches!(&it.fact.body, Body::Intended(intent) if intent.nonce == nonce));
    let Some(intended) = intended else {
        eprintln!("error: {name} carries the labels of run {run}, whose ledger has no such intent");
        return Ok(Err(exit::DATA));
    };
    let attempt = intended.fact.attempt;
    let role = entries.iter().find_map(|it| role(&it.fact.body, name));
    let role = role.unwrap_or("a job, with the intent but not on record (a pipeline's step?),");
    Ok(Ok(Found { facts, run, attempt, role }))
}

/// Project, run and nonce, as far as the labels have them.
fn labels(job: &Job) -> Option<(u64, RunId, &str)> {
    let project_id = job.labels.get(LABEL_PROJECT)?.parse().ok()?;
    let run = RunId::parse(job.labels.get(LABEL_RUN)?).ok()?;
    Some((project_id, run, job.labels.get(LABEL_INTENT)?))
}

/// Reads facts until one names the job.
async fn search(
    trail: &Trail,
    job: &JobName,
    since: Timestamp,
) -> anyhow::Result<Result<Found, u8>> {
    let within = trail.objects().try_filter(|it| ready(is_within(it, since, None)));
    let mut facts = pin!(trail.read(within));
    let mut read = 0;
    while let Some(stored) = facts.try_next().await? {
        read += 1;
        if read % TELL_EVERY == 0 {
            eprintln!("{read} facts read, up to {}", plain(&stored.object));
        }
        let entry = Entry::decode(&stored.bytes).ok();
        let named = entry.and_then(|it| Some((role(&it.fact.body, &job.name)?, it.fact.attempt)));
        if let (Some((role, attempt)), Some(name)) = (named, FactName::parse(&stored.object)) {
            let facts = trail.run(name.project_id, &name.run).await?;
            return Ok(Ok(Found { facts, run: name.run, attempt, role }));
        }
    }
    Ok(Err(absent(&format!("none of {read} facts since {since} names {}", job.name))))
}

/// What a fact says that the job is.
fn role(body: &Body, name: &str) -> Option<&'static str> {
    match body {
        Body::Submitted { job, .. } if is_same(job, name) => Some("the job"),
        Body::Surplus { job, .. } if is_same(job, name) => Some("a surplus job"),
        _ => None,
    }
}

/// Vertex AI answers with the project's number where people write its id.
fn is_same(a: &str, b: &str) -> bool {
    let tail = |it: &str| it.split_once("/locations/").map(|(_, tail)| tail.to_owned());
    tail(a).is_some() && tail(a) == tail(b)
}

/// Reads a resource name; Vertex AI's door checks the rest.
fn job_name(text: &str) -> Result<JobName, String> {
    let parts: Vec<_> = text.split('/').collect();
    let ["projects", _, "locations", _, collection, _] = parts[..] else {
        return Err("it is not projects/PROJECT/locations/REGION/COLLECTION/ID".to_owned());
    };
    let kind = JobKind::ALL.into_iter().find(|it| it.collection() == collection);
    let kind = kind.ok_or_else(|| format!("there is no collection {collection} of jobs"))?;
    Ok(JobName { kind, name: text.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_is_the_same_by_id_and_by_number_of_its_project() {
        let job = "projects/p/locations/europe-west4/customJobs/1";
        assert!(is_same(job, "projects/123/locations/europe-west4/customJobs/1"));
        assert!(!is_same(job, "projects/p/locations/europe-west1/customJobs/1"));
        assert!(!is_same(job, "projects/p/locations/europe-west4/pipelineJobs/1"));
        assert!(!is_same("", ""));
    }

    #[test]
    fn a_name_of_something_else_is_refused() {
        assert_eq!(
            job_name("projects/p/locations/r/pipelineJobs/1").unwrap().kind,
            JobKind::PipelineJob
        );
        for name in
            ["", "1", "projects/p/locations/r/models/1", "projects/p/locations/r/customJobs"]
        {
            assert!(job_name(name).is_err(), "{name}");
        }
    }
}
