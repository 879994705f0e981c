//! Files that people write: `branchline.yaml`, `worker.yaml`, `notifier.yaml`;
//! and the environment that GitLab makes for a job.

use std::fs;
use std::sync::LazyLock;

use branchline_service::config::load;
use branchline_service::telemetry::chain;
use fastrand::Rng;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tempfile::NamedTempFile;
use tokio::time::Instant;

use crate::contract::{brief, refused};
use crate::corpus::example;
use crate::mutate::{pick, short_text};
use crate::publish;
use crate::runner::Target;
use crate::{json, mutate};

pub(crate) const TARGETS: &[Target] = &[
    Target {
        name: "worker_yaml",
        weight: 12,
        memory: 400,
        make: |rng| yaml(rng, &WORKER),
        check: worker_yaml,
    },
    Target {
        name: "notifier_yaml",
        weight: 12,
        memory: 400,
        make: |rng| yaml(rng, &NOTIFIER),
        check: notifier_yaml,
    },
    Target {
        name: "branchline_yaml",
        weight: 6,
        memory: 400,
        make: |rng| yaml(rng, &BRANCHLINE),
        check: branchline_yaml,
    },
    Target {
        name: "gitlab_ci",
        weight: 80,
        memory: 200,
        make: |rng| json::bytes(rng, &ENVIRONMENTS),
        check: gitlab_ci,
    },
];

/// Files, and what they hold.
type Seeds = (Vec<String>, Vec<Value>);

static WORKER: LazyLock<Seeds> = LazyLock::new(|| {
    let local = example("local/worker.yaml");
    let more = "lease: 15s\ntick: 500ms\ncreate_max: 60s\nwait_max: 72h\n\
                creates_per_minute: 60\nverify_sha256: true\ninstallation: team-a\n\
                consume: {in_flight_max: 4, grace: 25s, attempts_max: 100}\n";
    seeds(vec![format!("{local}{more}"), local])
});
static NOTIFIER: LazyLock<Seeds> = LazyLock::new(|| seeds(vec![example("local/notifier.yaml")]));
static BRANCHLINE: LazyLock<Seeds> = LazyLock::new(|| {
    let whole = example("iris/branchline.yaml");
    let (top, runs) = whole.split_once("  # Two tasks").unwrap();
    let globs = "      more: {path: \"data/**/*.{csv,tsv}\"}\n      far: {uri: \"gs://acme-data/[a-c]*/x?\"}\n";
    let (head, tail) = top.split_once("    training:").unwrap();
    seeds(vec![format!("{head}{globs}    training:{tail}  # Two tasks{runs}"), top.to_owned()])
});

/// What YAML makes something of.
const MARKS: [&str; 20] = [
    "&a ",
    "*a",
    "<<: *a",
    "? ",
    "- ",
    "| ",
    ">-\n",
    "!!binary ",
    "!!float ",
    "---\n",
    "...\n",
    "%YAML 1.1\n",
    "#",
    "\t",
    "{",
    "[",
    "}",
    "yes",
    "~",
    "1_000",
];
/// Each alias doubles what it stands for.
const BOMB: &str = "a: &a [x,x]\nb: &b [*a,*a]\nc: &c [*b,*b]\nd: &d [*c,*c]\ne: &e [*d,*d]\n\
                    f: &f [*e,*e]\ng: &g [*f,*f]\nh: &h [*g,*g]\ni: &i [*h,*h]\nj: [*i,*i,*i]\n";

fn seeds(texts: Vec<String>) -> Seeds {
    let values = texts.iter().map(|it| serde_saphyr::from_str(it).unwrap()).collect();
    (texts, values)
}

fn yaml(rng: &mut Rng, (texts, values): &Seeds) -> Vec<u8> {
    // JSON is YAML: what is of another type there is of another type here.
    if rng.bool() {
        return json::bytes(rng, values);
    }
    let mut text = pick(rng, texts).clone();
    for _ in 0..rng.usize(..4) {
        mutate::change_text(rng, &mut text, &MARKS);
    }
    if rng.u8(..64) == 0 {
        text.insert_str(0, BOMB);
    }
    text.into_bytes()
}

thread_local! {
    static FILE: NamedTempFile = NamedTempFile::new().unwrap();
}

fn read<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    FILE.with(|file| {
        fs::write(file.path(), bytes).unwrap();
        match load(file.path()) {
            Ok(config) => Some(config),
            Err(error) => {
                brief(&chain(&error));
                assert!(!error.to_string().contains('\n'), "one sentence: {error}");
                None
            }
        }
    })
}

/// Times are such that a clock can go there.
fn worker_yaml(bytes: &[u8], _: &mut Rng) -> bool {
    let Some(config) = read::<branchline_worker::Config>(bytes) else { return false };
    let times = [config.lease, config.tick, config.create_max, config.settle, config.wait_max];
    for time in times {
        assert!(Instant::now().checked_add(time.get()).is_some(), "{time:?}");
    }
    let _ = (config.consume.subscribe(), config.google.problems());
    true
}

fn notifier_yaml(bytes: &[u8], _: &mut Rng) -> bool {
    let Some(config) = read::<branchline_notifier::Config>(bytes) else { return false };
    let _ = (config.consume.subscribe(), config.google.problems());
    true
}

fn branchline_yaml(bytes: &[u8], rng: &mut Rng) -> bool {
    use publish::config::{Config, Source};
    let Ok(yaml) = std::str::from_utf8(bytes) else { return false };
    match Config::parse(yaml) {
        Ok(config) => {
            for (_, source) in config.runs.values().flat_map(|it| &it.artifacts) {
                if let Source::Files(glob) | Source::Objects { names: glob, .. } = source {
                    let name = short_text(rng, &["data/2026/a.csv", "a/x1", "data/iris.csv"]);
                    let matched = glob.matches(&name);
                    assert!(!matched || name.starts_with(glob.directory()), "{glob:?} {name:?}");
                }
            }
            true
        }
        Err(problems) => {
            assert!(!problems.is_empty());
            for problem in problems {
                brief(&problem.to_string());
            }
            false
        }
    }
}

static ENVIRONMENTS: LazyLock<Vec<Value>> = LazyLock::new(|| {
    let variable = |name: &str| format!("CI_{name}");
    let all = [
        ("SERVER_URL", "https://gitlab.example.com:8443/gitlab"),
        ("PROJECT_ID", "7"),
        ("PROJECT_PATH", "ml/iris"),
        ("COMMIT_SHA", "9f2c1e0d8b7a65544332211000ffeeddccbbaa99"),
        ("COMMIT_REF_NAME", "main"),
        ("PIPELINE_ID", "30"),
        ("JOB_ID", "300"),
        ("OPEN_MERGE_REQUESTS", "up/iris!9,ml/iris!4,ml/iris!5"),
    ];
    let branch: Value = all.iter().map(|(name, it)| (variable(name), Value::from(*it))).collect();
    let mut merge_request = branch.clone();
    merge_request[variable("MERGE_REQUEST_IID")] = "9".into();
    merge_request[variable("MERGE_REQUEST_TARGET_BRANCH_NAME")] = "main".into();
    vec![branch, merge_request]
});

fn gitlab_ci(bytes: &[u8], _: &mut Rng) -> bool {
    let Ok(environment) = serde_json::from_slice(bytes) else { return false };
    match publish::gitlab_ci::read(&environment) {
        Ok(job) => {
            let json = serde_json::to_value(&job.origin).unwrap();
            assert_eq!(
                serde_json::from_value::<branchline_contract::Gitlab>(json).unwrap(),
                job.origin
            );
            true
        }
        Err(error) => refused(&error.to_string()),
    }
}
