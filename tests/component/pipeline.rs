//! What becomes of a push in a team's repository that includes the components. `templates/check` runs it.

use std::fs;
use std::path::Path;

use branchline_contract::{Outcome, RunId};
use branchline_gcp::storage::Objects as _;

use crate::team::{PLATFORM, Pipeline, TEAM, Team};

const MODEL_BYTES_MAX: u64 = 1 << 20;

/// Leaves its log and its whole text for `templates/check`.
fn keep(name: &str, team: &Team, pipeline: &Pipeline) {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("component");
    fs::create_dir_all(&directory).unwrap();
    fs::write(directory.join(format!("{name}.log")), &pipeline.log).unwrap();
    let expanded = team.path(TEAM).join(".gitlab-ci-local/expanded-gitlab-ci.yml");
    fs::copy(expanded, directory.join(format!("{name}.yml"))).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipeline_publishes_trains_waits_and_hands_the_model_on() {
    let Some(team) = Team::start().await else { return };
    let pipeline = team.push("main").await;
    keep("trained", &team, &pipeline);
    assert!(pipeline.passed, "{}", pipeline.log);

    let used = fs::read_to_string(team.path("iris/used")).unwrap();
    let [run, outcome, model, console] = used.split_whitespace().collect::<Vec<_>>()[..] else {
        panic!("{used}")
    };
    assert_eq!(outcome, "succeeded");
    let run = RunId::parse(run.to_owned()).unwrap();
    let history = team.world.store.load(team.world.project_id, &run).await.unwrap().unwrap();
    let ending = history.run.ending().unwrap();
    assert_eq!(ending.outcome, Outcome::Succeeded);
    assert_eq!(ending.model_uri.as_deref(), Some(model));
    assert_eq!(history.run.vertex_job().unwrap().console_url, console);

    let (bucket, directory) = model.strip_prefix("gs://").unwrap().split_once('/').unwrap();
    let object = format!("{directory}model.json");
    let (_, trained) =
        team.world.storage.read(bucket, &object, None, MODEL_BYTES_MAX).await.unwrap();
    assert_eq!(fs::read(team.path("iris/used.json")).unwrap(), trained);
    let left: Vec<_> =
        fs::read_dir(team.path("tmp")).unwrap().map(|it| it.unwrap().path()).collect();
    assert!(left.is_empty(), "a token may be in {left:?}");
    team.world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_branch_that_is_not_protected_is_refused_and_the_log_of_its_job_says_why() {
    let Some(team) = Team::start().await else { return };
    let pipeline = team.push("wild").await;
    keep("refused", &team, &pipeline);
    assert!(!pipeline.passed, "{}", pipeline.log);
    for line in ["rejected: only protected branches train", "FAIL 13"] {
        assert!(pipeline.log.contains(line), "{}", pipeline.log);
    }
    assert!(!pipeline.log.contains("fetch starting"), "{}", pipeline.log);
    team.world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_gets_one_pipeline_with_the_job_never_two() {
    let Some(team) = Team::start().await else { return };
    let branch = ["--variable", "CI_PIPELINE_SOURCE=push"];
    let open = [&branch[..], &["--variable", "CI_OPEN_MERGE_REQUESTS=team/iris!1"]].concat();
    let source = "CI_PIPELINE_SOURCE=merge_request_event";
    let merge_request = ["--variable", source, "--unset-variable", "CI_COMMIT_BRANCH"];
    for (arguments, expected) in [(&branch[..], true), (&open, false), (&merge_request, true)] {
        let arguments = [arguments, &["--list-csv"]].concat();
        let pipeline = team.run_pipeline(TEAM, &arguments).await;
        let jobs = if expected { vec!["train", "fetch", "use"] } else { Vec::new() };
        assert_eq!(pipeline.jobs(), jobs, "{arguments:?}: {}", pipeline.log);
    }
    team.world.stop().await;
}

/// The pipeline of this project, with the components of the same commit. Only where Fulcio knows the issuer of the
/// job's token is anything signed.
#[tokio::test(flavor = "multi_thread")]
async fn what_no_protected_ref_has_asked_for_is_neither_built_nor_signed_nor_released() {
    let Some(team) = Team::start().await else { return };
    let tag = ["--variable", "CI_COMMIT_TAG=1.2.3", "--unset-variable", "CI_COMMIT_BRANCH"];
    let protected = [&tag[..], &["--variable", "CI_COMMIT_REF_PROTECTED=true"]].concat();
    let with = |variable| [&protected[..], &["--variable", variable]].concat();
    let (public, own) =
        (with("CI_SERVER_HOST=gitlab.com"), with("COSIGN_FULCIO_URL=https://fulcio.example.com"));
    let always = &["check", "test", "component"][..];
    let unsigned = &["check", "test", "deploy", "component", "images", "release"][..];
    let all = &["check", "test", "deploy", "component", "images", "sign", "release"][..];
    let cases = [
        (&[][..], always),
        (&tag[..], always),
        (&protected, unsigned),
        (&public, all),
        (&own, all),
    ];
    for (arguments, jobs) in cases {
        let arguments = [arguments, &["--list-csv"]].concat();
        let pipeline = team.run_pipeline(PLATFORM, &arguments).await;
        assert_eq!(pipeline.jobs(), jobs, "{arguments:?}: {}", pipeline.log);
    }
    team.world.stop().await;
}
