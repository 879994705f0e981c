//! Forgeries of the origin: what the message says and the token does not.

use serde_json::json;

use crate::id_token::Check::{Host, Job, Pipeline, Project, ProjectPath, Ref, Sha};
use crate::id_token::tests::{Row, row};

pub(super) const ROWS: &[Row] = &[
    row(
        "another host",
        |it| it.message.host = "gitlab.com".parse().unwrap(),
        "the token is for the GitLab at \"gitlab.example.com\", and the message says \"gitlab.com\"",
        &[Host],
    ),
    row(
        "the same ids of another instance",
        |it| {
            it.come_from_the_second_instance();
            it.message.host = "gitlab.example.com".parse().unwrap();
        },
        "the token is for the GitLab at \"git.second.example:8443\", and the message says \"gitlab.example.com\"",
        &[Host],
    ),
    row(
        "another project",
        |it| it.message.project_id = 43,
        "the token is for the project \"42\", and the message says \"43\"",
        &[Project],
    ),
    row(
        "another project's path",
        |it| it.message.project_path = "ml/prod".parse().unwrap(),
        "the token is for the project path \"ml/iris\", and the message says \"ml/prod\"",
        &[ProjectPath],
    ),
    row(
        "a fork that says it is the project",
        |it| {
            for id in ["project_id", "job_project_id"] {
                it.claims[id] = json!("99");
            }
            for path in ["project_path", "job_project_path"] {
                it.claims[path] = json!("fork/iris");
            }
        },
        "the token is for the project \"99\", and the message says \"42\"",
        &[Project, ProjectPath],
    ),
    row(
        "a fork's merge request that says it runs in the fork",
        |it| {
            it.claims["project_id"] = json!("99");
            it.claims["project_path"] = json!("fork/iris");
            it.message.project_id = 99;
            it.message.project_path = "fork/iris".parse().unwrap();
        },
        "the token is for the project \"42\", and the message says \"99\"",
        &[Project, ProjectPath],
    ),
    row(
        "a fork's merge request, without the job's project",
        |it| {
            it.claims["project_id"] = json!("99");
            it.claims["project_path"] = json!("fork/iris");
            it.remove("job_project_id");
        },
        "the token is for the project \"99\", and the message says \"42\"",
        &[Project, ProjectPath],
    ),
    row(
        "another commit",
        |it| it.claims["sha"] = json!("2222222222222222222222222222222222222222"),
        "the token is for the commit \"2222222222222222222222222222222222222222\", and the message says \"1111111111111111111111111111111111111111\"",
        &[Sha],
    ),
    row(
        "an abbreviated commit",
        |it| it.claims["sha"] = json!("11111111"),
        "the token is for the commit \"11111111\", and the message says \"1111111111111111111111111111111111111111\"",
        &[Sha],
    ),
    row(
        "another ref",
        |it| it.message.git_ref = "main".parse().unwrap(),
        "the token is for the ref \"topic\", and the message says \"main\"",
        &[Ref],
    ),
    row(
        "the full name of the ref",
        |it| it.message.git_ref = "refs/heads/topic".parse().unwrap(),
        "the token is for the ref \"topic\", and the message says \"refs/heads/topic\"",
        &[Ref],
    ),
    row(
        "a merge request's ref for its branch",
        |it| it.message.git_ref = "refs/merge-requests/3/head".parse().unwrap(),
        "the token is for the ref \"topic\", and the message says \"refs/merge-requests/3/head\"",
        &[Ref],
    ),
    row(
        "another pipeline",
        |it| it.message.pipeline_id = 8,
        "the token is for the pipeline \"7\", and the message says \"8\"",
        &[Pipeline],
    ),
    row(
        "another job",
        |it| it.message.job_id = 71,
        "the token is for the job \"70\", and the message says \"71\"",
        &[Job],
    ),
];
