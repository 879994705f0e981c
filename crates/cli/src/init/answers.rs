//! What is asked, in which order, what an answer has to be, and what is taken where none is given.

use std::path::Path;
use std::process::Command;

use branchline_contract::{ArtifactName, CloudProject, Invalid, Region, RunName};
use branchline_service::telemetry::chain;
use regex::Regex;

use super::ask::{Asker, Question};
use super::{Args, Error};
use crate::publish::artifacts::look;
use crate::publish::config::{Source, bucket, cloud, local, topic};
use crate::publish::repository::Repository;

/// All that the files hold.
#[derive(Debug)]
pub(super) struct Answers {
    pub(super) run: RunName,
    pub(super) project: CloudProject,
    pub(super) region: Region,
    pub(super) bucket: String,
    pub(super) topic: String,
    pub(super) ledger: String,
    pub(super) image: String,
    /// Unless the image knows by itself what to run.
    pub(super) script: Option<Script>,
    /// A path in the repository, or a URI.
    pub(super) data: Option<String>,
    /// Without its host: it is on the GitLab that includes it.
    pub(super) component: String,
    /// Vertex AI's own where there is none.
    pub(super) training_account: Option<String>,
    /// Image of the CI job, with `branchline` in it. This and what follows is the group's where it is not the
    /// repository's own.
    pub(super) ci_image: Option<String>,
    pub(super) provider: Option<String>,
    pub(super) service_account: Option<String>,
}

/// What is run, and by what.
#[derive(Debug)]
pub(super) struct Script {
    pub(super) path: String,
    pub(super) interpreter: &'static str,
}

/// Says that something is left out.
const NONE: &str = "none";

/// Asks for everything.
pub(super) fn gather(
    args: &Args,
    repository: &Repository,
    mut asker: Asker,
) -> Result<Answers, Error> {
    ask(args, repository, &mut asker).ok_or_else(|| asker.why_not())
}

/// Every question is asked before the first missing answer counts, so that all are told at once.
fn ask(args: &Args, repository: &Repository, asker: &mut Asker) -> Option<Answers> {
    let q = |flag, given, text| Question { flag, given, text, default: None };
    let run = q("run", &args.run, "name of the run").or(name_of(repository));
    let run = asker.ask(&run, str::parse::<RunName>);
    let project = q("project", &args.project, "Google Cloud project that trains");
    let project = asker.ask(&project, str::parse::<CloudProject>);
    let region = q("region", &args.region, "region of Vertex AI, such as europe-west4");
    let region = asker.ask(&region, str::parse::<Region>);
    let bucket = q("bucket", &args.bucket, "bucket that artifacts are uploaded to");
    let bucket = asker.ask(&bucket, self::bucket);
    let topic = q("topic", &args.topic, "topic of requests, projects/PROJECT/topics/TOPIC");
    let topic = asker.ask(&topic, plain_topic);
    let ledger = q("ledger", &args.ledger, "bucket of the run ledger");
    let ledger = asker.ask(&ledger, self::bucket);
    let image = q("image", &args.image, "container image that trains");
    let image = asker.ask(&image, self::image);
    let ours = || Some(NONE.to_owned());
    let script = q("script", &args.script, "script that the image runs, .py or .sh, or none");
    let script = script.or(Some(first_file(repository)));
    let script = asker.ask(&script, |it| self::script(repository, it));
    let data = q("data", &args.data, "data, a file or glob in the repository or gs://…, or none");
    let data = data.or(Some(data_files(repository)));
    let data = asker.ask(&data, |it| self::data(repository, it));
    let trainer =
        q("training-account", &args.training_account, "account that jobs train as, or none");
    let trainer = asker.ask(&trainer.or(ours()), |it| unless_none(it, service_account));
    let component =
        q("component", &args.component, "CI component, GROUP/PROJECT/train@VERSION on this GitLab");
    let component = asker.ask(&component, self::component);
    let ci_image = q("ci-image", &args.ci_image, "CI job's image, or none for the group's");
    let ci_image = asker.ask(&ci_image.or(ours()), |it| unless_none(it, self::image));
    let provider = q("provider", &args.provider, "identity provider, or none for the group's");
    let provider = asker.ask(&provider.or(ours()), |it| unless_none(it, self::provider));
    let account = q("service-account", &args.service_account, "account, or none for the group's");
    let account = asker.ask(&account.or(ours()), |it| unless_none(it, service_account));
    Some(Answers {
        run: run?,
        project: project?,
        region: region?,
        bucket: bucket?,
        topic: topic?,
        ledger: ledger?,
        image: image?,
        script: script?,
        data: data?,
        training_account: trainer?,
        component: component?,
        ci_image: ci_image?,
        provider: provider?,
        service_account: account?,
    })
}

/// The name of the directory within the repository, or of the repository on GitLab.
fn name_of(repository: &Repository) -> Option<String> {
    let directory = |it: &Path| Some(it.file_name()?.to_str()?.to_owned());
    let name = if repository.directory == repository.root {
        remote(&repository.root).or_else(|| directory(&repository.root))?
    } else {
        directory(&repository.directory)?
    };
    as_run_name(&name)
}

fn as_run_name(name: &str) -> Option<String> {
    let fits = |it: char| if it.is_ascii_alphanumeric() { it.to_ascii_lowercase() } else { '-' };
    let name: String = name.chars().map(fits).collect();
    let name = name.trim_start_matches(|it: char| !it.is_ascii_lowercase());
    let name: String = name.chars().take(40).collect();
    RunName::parse(name.trim_end_matches('-')).ok().map(String::from)
}

/// The last part of where git pushes to. There may be no git, and no such place.
fn remote(root: &Path) -> Option<String> {
    let asked =
        Command::new("git").args(["remote", "get-url", "origin"]).current_dir(root).output();
    let url = String::from_utf8(asked.ok().filter(|it| it.status.success())?.stdout).ok()?;
    let url = url.trim().trim_end_matches('/');
    let name = url.strip_suffix(".git").unwrap_or(url).rsplit(['/', ':']).next()?;
    (!name.is_empty()).then(|| name.to_owned())
}

fn first_file(repository: &Repository) -> String {
    let there = |it: &&str| repository.directory.join(it).is_file();
    ["train.py", "train.sh"].into_iter().find(there).unwrap_or(NONE).to_owned()
}

fn data_files(repository: &Repository) -> String {
    if repository.directory.join("data").is_dir() { "data/**" } else { NONE }.to_owned()
}

fn script(repository: &Repository, text: &str) -> Result<Option<Script>, String> {
    if text == NONE {
        return Ok(None);
    }
    let interpreter = match Path::new(text).extension().and_then(|it| it.to_str()) {
        Some("py") => "python3",
        Some("sh") => "sh",
        _ => return Err(Invalid::new(text, "a script that ends in .py or .sh").to_string()),
    };
    match in_repository(repository, "code", text)? {
        Source::File(path) => Ok(Some(Script { path, interpreter })),
        Source::Files(_) | Source::Object(_) | Source::Objects { .. } => {
            Err(Invalid::new(text, "one file").to_string())
        }
    }
}

fn data(repository: &Repository, text: &str) -> Result<Option<String>, String> {
    match text {
        NONE => return Ok(None),
        _ if text.starts_with("gs://") => drop(cloud(text)?),
        _ => drop(in_repository(repository, "data", text)?),
    }
    Ok(Some(text.to_owned()))
}

fn in_repository(repository: &Repository, artifact: &str, text: &str) -> Result<Source, String> {
    let artifact = ArtifactName::parse(artifact).expect("one of ours");
    let source = local(text)?;
    look(repository, &artifact, &source).map_err(|error| chain(&error))?;
    Ok(source)
}

/// `publish` leaves the rest to Pub/Sub; here a slip of the pen is still mended in a second.
fn plain_topic(text: &str) -> Result<String, String> {
    topic(text)?;
    let pattern = r"^projects/[a-z0-9][a-z0-9.:-]*/topics/[A-Za-z][A-Za-z0-9._~+%-]{2,254}$";
    matching(text, pattern, "a topic (projects/PROJECT/topics/TOPIC)").map_err(|it| it.to_string())
}

fn unless_none(
    text: &str,
    parse: impl Fn(&str) -> Result<String, Invalid>,
) -> Result<Option<String>, Invalid> {
    if text == NONE { Ok(None) } else { parse(text).map(Some) }
}

fn image(text: &str) -> Result<String, Invalid> {
    let pattern = "^[a-z0-9][A-Za-z0-9._/:-]*(@sha256:[0-9a-f]{64})?$";
    matching(text, pattern, "a container image, such as docker.io/library/python:3.13-slim")
}

/// Where it stands in a pipeline, it may be given too.
fn component(text: &str) -> Result<String, Invalid> {
    let bare = text.strip_prefix("$CI_SERVER_FQDN/").unwrap_or(text);
    let pattern = "^[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_][A-Za-z0-9_.-]*)+\
                   /train@[A-Za-z0-9~][A-Za-z0-9._+-]*$";
    matching(bare, pattern, "a component (GROUP/PROJECT/train@VERSION)")
}

/// As gcloud prints it, or as an audience.
fn provider(text: &str) -> Result<String, Invalid> {
    let bare = text.strip_prefix("https:").unwrap_or(text);
    let bare = bare.strip_prefix("//iam.googleapis.com/").unwrap_or(bare);
    let pattern = "^projects/[0-9]+/locations/global/workloadIdentityPools/[a-z0-9-]{4,32}\
                   /providers/[a-z0-9-]{4,32}$";
    let rule = "a provider (projects/NUMBER/locations/global/workloadIdentityPools/POOL/providers/\
                PROVIDER)";
    matching(bare, pattern, rule)
}

fn service_account(text: &str) -> Result<String, Invalid> {
    let pattern = r"^[a-z0-9][a-z0-9-]*@[a-z0-9][a-z0-9.-]*\.gserviceaccount\.com$";
    matching(text, pattern, "a service account (NAME@PROJECT.iam.gserviceaccount.com)")
}

fn matching(text: &str, pattern: &str, rule: &'static str) -> Result<String, Invalid> {
    let pattern = Regex::new(pattern).expect("a literal");
    if pattern.is_match(text) { Ok(text.to_owned()) } else { Err(Invalid::new(text, rule)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_may_be_called_as_its_repository_as_far_as_its_letters_go() {
        let long = "x".repeat(60);
        for (name, expected) in [
            ("iris", Some("iris")),
            ("Iris_Flowers.v2", Some("iris-flowers-v2")),
            ("2nd-try-", Some("nd-try")),
            (".tmp", Some("tmp")),
            (long.as_str(), Some(&long[..40])),
            ("größe", Some("gr--e")),
            ("花", None),
            ("", None),
        ] {
            assert_eq!(as_run_name(name).as_deref(), expected, "{name}");
        }
    }
}
