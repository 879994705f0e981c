//! `branchline.yaml`: what a repository trains, from what, and where.

use std::collections::BTreeMap;

use branchline_contract::{
    ArtifactName, ArtifactReady, AttemptsMax, CloudProject, Invalid, JobKind, ObjectUri, Region,
    RunName, Training, Vertex,
};
use serde_json::Value;

use super::pattern::Glob;
use super::strict::{Problem, Problems, Section};

/// The file as a whole.
#[derive(Debug)]
pub(crate) struct Config {
    /// Bucket for the artifacts.
    pub(crate) bucket: String,
    /// Topic for requests, `projects/P/topics/T`.
    pub(crate) topic: String,
    /// Bucket of the run ledger, to follow a run.
    pub(crate) ledger: Option<String>,
    /// Most objects that one artifact may have.
    pub(crate) artifacts_max: usize,
    /// What can be run, by name.
    pub(crate) runs: BTreeMap<RunName, Run>,
}

/// One kind of training.
#[derive(Debug)]
pub(crate) struct Run {
    /// Its name.
    pub(crate) name: RunName,
    /// Where it trains.
    pub(crate) vertex: Vertex,
    /// What `{{ params.KEY }}` stands for unless set otherwise.
    pub(crate) params: BTreeMap<String, String>,
    /// Whether another pipeline of the same commit is other work.
    pub(crate) per_pipeline: bool,
    /// Whether it ends the runs of older pipelines.
    pub(crate) supersede: bool,
    /// Attempts in all before a failure for want of quota is the end.
    pub(crate) attempts_max: AttemptsMax,
    /// Its inputs, in the order of the file.
    pub(crate) artifacts: Vec<(ArtifactName, Source)>,
    /// What runs, as it was written.
    pub(crate) training: Training,
}

/// Where an artifact comes from.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    /// A file beside `branchline.yaml`.
    File(String),
    /// The files that match, relative to `branchline.yaml`.
    Files(Glob),
    /// An object that already lies in Cloud Storage.
    Object(ObjectUri),
    /// Objects of a bucket that match.
    Objects {
        /// The bucket.
        bucket: String,
        /// What their names look like.
        names: Glob,
    },
}

impl Config {
    /// Reads the file, and tells everything that is wrong with it.
    pub(crate) fn parse(text: &str) -> Result<Self, Vec<Problem>> {
        let mut problems = Problems::default();
        let config = match super::strict::yaml(text) {
            Ok(value) => read(&mut problems, &value),
            Err(error) => return Err(vec![syntax(&error)]),
        };
        match config {
            Some(config) if problems.0.is_empty() => Ok(config),
            Some(_) | None => Err(problems.0),
        }
    }
}

/// What is wrong with a text that is not YAML, in one line.
pub(crate) fn syntax(error: &serde_saphyr::Error) -> Problem {
    let error = error.without_snippet();
    let path = error.location().map_or_else(
        || "the file".to_owned(),
        |it| format!("line {}, column {}", it.line(), it.column()),
    );
    let what = error.to_string();
    Problem { path, what: what.lines().next().unwrap_or_default().to_owned() }
}

fn read(problems: &mut Problems, value: &Value) -> Option<Config> {
    const KEYS: [&str; 7] =
        ["project", "region", "bucket", "topic", "ledger", "artifacts_max", "runs"];
    let top = problems.section(value, "", &KEYS)?;
    let bucket = problems.required(&top, "bucket", bucket);
    let topic = problems.required(&top, "topic", topic);
    let ledger = problems.optional(&top, "ledger", self::bucket);
    let artifacts_max = artifacts_max(problems, &top);
    let project = problems.optional(&top, "project", str::parse::<CloudProject>);
    let region = problems.optional(&top, "region", str::parse::<Region>);
    let defaults = Defaults { top: &top, project, region };

    let runs = runs(problems, &top, &defaults);
    Some(Config {
        bucket: bucket?,
        topic: topic?,
        ledger,
        artifacts_max: artifacts_max?,
        runs: runs?,
    })
}

/// What a run has unless it says otherwise.
struct Defaults<'a> {
    top: &'a Section<'a>,
    project: Option<CloudProject>,
    region: Option<Region>,
}

fn runs(
    problems: &mut Problems,
    top: &Section<'_>,
    defaults: &Defaults<'_>,
) -> Option<BTreeMap<RunName, Run>> {
    let section = problems.names(top, "runs")?;
    if section.iter().next().is_none() {
        problems.report(top.path("runs"), "holds no run");
    }
    let runs = section.iter().filter_map(|(name, value)| {
        let run = run(problems, &section, name, value, defaults)?;
        Some((run.name.clone(), run))
    });
    Some(runs.collect())
}

fn run(
    problems: &mut Problems,
    runs: &Section<'_>,
    name: &str,
    value: &Value,
    defaults: &Defaults<'_>,
) -> Option<Run> {
    const KEYS: [&str; 8] = [
        "project",
        "region",
        "params",
        "per_pipeline",
        "supersede",
        "attempts_max",
        "artifacts",
        "training",
    ];
    let path = runs.path(name);
    let name = problems.parsed(&path, RunName::parse(name));
    let section = problems.section(value, &path, &KEYS)?;
    let project = problems.optional(&section, "project", str::parse::<CloudProject>);
    let project = project
        .or_else(|| inherit(problems, &section, "project", defaults, defaults.project.as_ref()));
    let region = problems.optional(&section, "region", str::parse::<Region>);
    let region = region
        .or_else(|| inherit(problems, &section, "region", defaults, defaults.region.as_ref()));
    let params = params(problems, &section);
    let per_pipeline = flag(problems, &section, "per_pipeline");
    let supersede = flag(problems, &section, "supersede");
    let attempts_max = attempts_max(problems, &section);
    let artifacts = artifacts(problems, &section);
    let training = training(problems, &section);
    Some(Run {
        name: name?,
        vertex: Vertex { project: project?, region: region? },
        params: params?,
        per_pipeline: per_pipeline?,
        supersede: supersede?,
        attempts_max: attempts_max?,
        artifacts: artifacts?,
        training: training?,
    })
}

/// `false` where nothing is said.
fn flag(problems: &mut Problems, section: &Section<'_>, key: &str) -> Option<bool> {
    match section.get(key) {
        None => Some(false),
        Some(Value::Bool(flag)) => Some(*flag),
        Some(other) => problems.unfit(section, key, "true or false", other),
    }
}

/// A default; its absence is a problem only where nobody wrote the field at all.
fn inherit<T: Clone>(
    problems: &mut Problems,
    section: &Section<'_>,
    key: &str,
    defaults: &Defaults<'_>,
    value: Option<&T>,
) -> Option<T> {
    if section.get(key).is_none() && defaults.top.get(key).is_none() {
        problems.report(section.path(key), "is missing, here and at the top of the file");
    }
    value.cloned()
}

fn artifacts_max(problems: &mut Problems, top: &Section<'_>) -> Option<usize> {
    let Some(value) = top.get("artifacts_max") else { return Some(ArtifactReady::ARTIFACTS_MAX) };
    let number = value.as_u64().and_then(|it| usize::try_from(it).ok());
    let number = number.filter(|it| (1..=ArtifactReady::ARTIFACTS_MAX).contains(it));
    number.or_else(|| {
        let range = format!("a number from 1 to {}", ArtifactReady::ARTIFACTS_MAX);
        problems.unfit(top, "artifacts_max", &range, value)
    })
}

fn attempts_max(problems: &mut Problems, run: &Section<'_>) -> Option<AttemptsMax> {
    let Some(value) = run.get("attempts_max") else { return Some(AttemptsMax::default()) };
    let number = value.as_u64().and_then(|it| u32::try_from(it).ok());
    number.and_then(|it| AttemptsMax::try_from(it).ok()).or_else(|| {
        let range = format!("a number from 1 to {}", AttemptsMax::MOST);
        problems.unfit(run, "attempts_max", &range, value)
    })
}

fn params(problems: &mut Problems, run: &Section<'_>) -> Option<BTreeMap<String, String>> {
    if run.get("params").is_none() {
        return Some(BTreeMap::new());
    }
    let section = problems.names(run, "params")?;
    let mut params = BTreeMap::new();
    for (key, value) in section.iter() {
        match value {
            Value::String(text) => drop(params.insert(key.clone(), text.clone())),
            // What a number looks like must not depend on who prints it.
            other => problems.unfit(&section, key, "text in quotes", other).unwrap_or_default(),
        }
    }
    Some(params)
}

fn artifacts(problems: &mut Problems, run: &Section<'_>) -> Option<Vec<(ArtifactName, Source)>> {
    let section = match run.get("artifacts") {
        None => return Some(Vec::new()),
        Some(_) => problems.names(run, "artifacts")?,
    };
    let artifacts = section.iter().filter_map(|(name, value)| {
        let path = section.path(name);
        let name = problems.parsed(&path, ArtifactName::parse(name.as_str()));
        let section = problems.section(value, &path, &["path", "uri"])?;
        let source = match (section.get("path"), section.get("uri")) {
            (Some(_), None) => problems.required(&section, "path", local),
            (None, Some(_)) => problems.required(&section, "uri", cloud),
            (Some(_), Some(_)) | (None, None) => {
                problems.report(path, "takes either path or uri");
                None
            }
        };
        Some((name?, source?))
    });
    Some(artifacts.collect())
}

fn training(problems: &mut Problems, run: &Section<'_>) -> Option<Training> {
    let kinds = JobKind::ALL.map(JobKind::key);
    let Some(value) = run.get("training") else {
        problems.report(run.path("training"), "is missing");
        return None;
    };
    let section = problems.section(value, &run.path("training"), &kinds)?;
    let mut given = JobKind::ALL.into_iter().filter_map(|it| Some((it, section.get(it.key())?)));
    if let (Some((kind, body)), None) = (given.next(), given.next()) {
        return Some(Training::new(kind, body.clone()));
    }
    problems
        .report(run.path("training"), format_args!("takes exactly one of {}", kinds.join(", ")));
    None
}

/// A path in the repository; leaving it is refused here, and by way of a link when it is opened.
pub(crate) fn local(text: &str) -> Result<Source, String> {
    let text = text.strip_prefix("./").unwrap_or(text);
    let inside = |it: &str| !matches!(it, "" | "." | "..");
    if !text.split('/').all(inside) {
        return Err(Invalid::new(text, "a path inside the repository").to_string());
    }
    if Glob::is_one(text) {
        return Ok(Source::Files(Glob::parse(text).map_err(|error| error.to_string())?));
    }
    Ok(Source::File(text.to_owned()))
}

/// `gs://bucket/object`, a glob over objects, or a directory: everything under it.
pub(crate) fn cloud(text: &str) -> Result<Source, String> {
    let uri = ObjectUri::parse(text).map_err(|error| error.to_string())?;
    let names = match uri.object() {
        object if object.ends_with('/') => format!("{object}**"),
        object if Glob::is_one(object) => object.to_owned(),
        _ => return Ok(Source::Object(uri)),
    };
    let names = Glob::parse(&names).map_err(|error| error.to_string())?;
    Ok(Source::Objects { bucket: uri.bucket().to_owned(), names })
}

/// The name of a bucket.
pub(crate) fn bucket(text: &str) -> Result<String, String> {
    let valid = ObjectUri::new(text, "object").is_ok_and(|it| it.bucket() == text);
    if valid {
        Ok(text.to_owned())
    } else {
        Err(Invalid::new(text, "the name of a bucket").to_string())
    }
}

/// The full name of a topic.
pub(crate) fn topic(text: &str) -> Result<String, String> {
    match text.split('/').collect::<Vec<_>>()[..] {
        ["projects", project, "topics", topic] if !project.is_empty() && topic.len() >= 3 => {
            Ok(text.to_owned())
        }
        _ => Err(Invalid::new(text, "a topic (projects/PROJECT/topics/TOPIC)").to_string()),
    }
}
