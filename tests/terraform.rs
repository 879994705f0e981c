//! The Terraform module, read as text: which jobs its federation lets in, whom it grants something,
//! and what its README lists. `deploy/terraform/check` is where terraform itself runs.
#![expect(clippy::unwrap_used, reason = "a helper of a test may panic as the test may")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

use branchline_policy::federation::{self, Attributes, Claims};
use branchline_tests::processes::executable;
use serde_json::{Value, json};

/// As long as Google takes a subject, in bytes.
const SUBJECT_MAX: usize = 127;

/// `federation.yaml.tftpl`, filled.
#[derive(serde::Deserialize)]
struct Federation {
    mapping: BTreeMap<String, String>,
    condition: String,
}

#[test]
fn only_jobs_of_the_groups_that_are_named_get_an_identity() {
    let by_id = Federation::filled("namespace_id", &["12", "7"], &["true"]);
    let by_path = Federation::filled("namespace_path", &["ml", "data/ml"], &["true"]);
    let on_any_ref = Federation::filled("namespace_id", &["7"], &["true", "false"]);
    let cases = [
        // What differs from a job of the group's main branch; by id, by path, on any ref.
        ("nothing", json!({}), true, true, true),
        ("no protected branch", json!({"ref_protected": "false"}), false, false, true),
        ("no word on protection", json!({"ref_protected": null}), false, false, false),
        (
            "another group",
            json!({"namespace_id": "8", "namespace_path": "sales"}),
            false,
            false,
            false,
        ),
        (
            "a subgroup that is not named",
            json!({"namespace_id": "9", "namespace_path": "ml/vision"}),
            false,
            false,
            false,
        ),
        (
            "a group of a longer name",
            json!({"namespace_id": "127", "namespace_path": "ml-and-mallory"}),
            false,
            false,
            false,
        ),
        ("a group that was renamed", json!({"namespace_path": "ai"}), true, false, true),
        ("whoever took the old path", json!({"namespace_id": "666"}), false, true, false),
        // In the pipeline of its merge request, a fork's job tells the fork, whoever runs it.
        (
            "a fork's merge request",
            json!({
                "project_id": "900", "project_path": "mallory/iris", "job_project_id": "71",
                "namespace_id": "90", "namespace_path": "mallory", "ref_protected": "true",
            }),
            false,
            false,
            false,
        ),
        ("no group", json!({"namespace_id": null, "namespace_path": null}), false, false, false),
    ];
    for (name, differs, id, path, any_ref) in cases {
        let job = job(&differs);
        for (federation, expected) in [(&by_id, id), (&by_path, path), (&on_any_ref, any_ref)] {
            let condition = &federation.condition;
            assert_eq!(federation.lets_in(&job), expected, "{name}: {condition}");
        }
    }
}

#[test]
fn a_job_is_its_project_and_its_subject_is_short() {
    let federation = Federation::filled("namespace_id", &["7"], &["true"]);
    let mapped = federation.mapped(&job(&json!({})));
    assert_eq!(mapped["google.subject"], "project:71:pipeline:35");
    assert_eq!(mapped["attribute.project_id"], "71");

    // A fork in the same group has an identity, and not that of the project which is bound.
    let fork = job(&json!({"project_id": "900", "job_project_id": "71"}));
    assert_eq!(federation.mapped(&fork)["attribute.project_id"], "900");

    let largest = u64::MAX.to_string();
    let long = job(&json!({"project_id": largest, "pipeline_id": largest}));
    assert!(long["sub"].as_str().unwrap().len() > SUBJECT_MAX, "GitLab's own would do");
    assert!(federation.mapped(&long)["google.subject"].len() < SUBJECT_MAX);
}

#[test]
fn every_grant_is_of_one_member_and_told_in_the_output() {
    let outputs = module("outputs.tf");
    let mut members = 0;
    for (file, text) in hcl() {
        for public in ["allUsers", "allAuthenticatedUsers"] {
            assert!(!text.contains(public), "{file} names {public}");
        }
        for (kind, name) in declared(&text, "resource") {
            // These take away what others have granted, or go past IAM.
            for other in ["_iam_binding", "_iam_policy", "_acl", "_access", "_access_control"] {
                assert!(!kind.ends_with(other), "{file}: {kind}.{name}");
            }
            if kind.ends_with("_iam_member") {
                members += 1;
                let told = format!("in {kind}.{name} :");
                assert!(outputs.contains(&told), "the output `grants` lacks {kind}.{name}");
            }
        }
    }
    assert!(members >= 6, "only {members} kinds of grants were found");
}

#[test]
fn the_readme_lists_every_input_and_output() {
    let readme = module("README.md");
    for (heading, files, keyword) in [
        ("## Inputs", &["variables.tf", "variables_around.tf"][..], "variable"),
        ("## Outputs", &["outputs.tf"][..], "output"),
    ] {
        let (_, rest) = readme.split_once(heading).expect(heading);
        let table = rest.split("\n## ").next().unwrap_or_default();
        let rows = table.lines().filter_map(|it| it.strip_prefix("| `")?.split('`').next());
        let rows: Vec<_> = rows.map(str::to_owned).collect();
        let text: String = files.iter().map(|it| module(it)).collect();
        let names = declared(&text, keyword).map(|(name, _)| name);
        assert_eq!(rows, names.collect::<Vec<_>>(), "{heading}, in the order of {files:?}");
    }
}

#[test]
fn init_takes_what_a_team_is_told() {
    let outputs = module("outputs.tf");
    let (_, rest) = outputs.split_once("output \"init_command\"").expect("it is one");
    let command = rest.split("\noutput ").next().unwrap_or_default();
    let told = command.split('"').filter_map(|it| it.strip_prefix("--")?.split(' ').next());
    let told: Vec<_> = told.collect();
    let ended = Command::new(executable()).args(["init", "--help"]).output().unwrap();
    let help = String::from_utf8(ended.stdout).unwrap();
    for option in &told {
        assert!(help.contains(&format!("--{option} <")), "init knows no --{option}\n{help}");
    }
    let wanted =
        ["project", "region", "topic", "bucket", "ledger", "training-account", "component"];
    assert_eq!(told, wanted);
}

#[test]
fn every_api_of_an_installation_by_hand_is_enabled() {
    let text = fs::read_to_string(root().join("docs/by-hand.md")).unwrap();
    let (_, rest) = text.split_once("gcloud services enable ").expect("it enables some");
    let names = rest.split("\nfor ").next().unwrap_or_default();
    let wanted: BTreeSet<_> =
        names.split_whitespace().filter_map(|it| it.strip_suffix(".googleapis.com")).collect();
    assert!(wanted.len() > 5, "{wanted:?}");
    let apis = module("apis.tf");
    for name in wanted {
        assert!(apis.contains(&format!("\"{name}\"")), "{name} is not enabled");
    }
}

impl Federation {
    /// As `gitlab.tf` fills it.
    fn filled(claim: &str, namespaces: &[&str], ref_protected: &[&str]) -> Self {
        let text = module("federation.yaml.tftpl")
            .replace("${claim}", claim)
            .replace("${namespaces}", &json!(namespaces).to_string())
            .replace("${ref_protected}", &json!(ref_protected).to_string());
        assert!(!text.contains("${"), "not filled: {text}");
        serde_saphyr::from_str(&text).unwrap()
    }

    fn mapped(&self, job: &Claims) -> Attributes {
        let mapping: Vec<_> = self.mapping.clone().into_iter().collect();
        let mapped = federation::map(&mapping, job).into_iter();
        mapped.map(|(name, value)| (name, value.expect("it has a value"))).collect()
    }

    fn lets_in(&self, job: &Claims) -> bool {
        let failing = federation::failing(&self.condition, job, &self.mapped(job));
        failing.expect("it can be evaluated").is_empty()
    }
}

/// The claims of a job of the group's main branch, but for what differs; null takes a claim away.
fn job(differs: &Value) -> Claims {
    let branch = "a-branch-with-a-name-that-says-what-it-is-for-and-why-it-was-made-at-all";
    let mut claims = json!({
        "iss": "https://gitlab.example.com",
        "sub": format!("project_path:ml/iris-{branch}:ref_type:branch:ref:{branch}"),
        "project_id": "71", "project_path": "ml/iris", "job_project_id": "71",
        "namespace_id": "7", "namespace_path": "ml",
        "pipeline_id": "35", "ref": "main", "ref_protected": "true",
    });
    let claims = claims.as_object_mut().expect("it is one");
    claims.extend(differs.as_object().expect("it is one").clone());
    claims.retain(|_, it| !it.is_null());
    claims.clone()
}

/// `resource "TYPE" "NAME" {` and the like, in their order; the name is empty where there is one label.
fn declared(text: &str, keyword: &str) -> impl Iterator<Item = (String, String)> {
    let heads = text.lines().filter_map(move |it| it.strip_prefix(keyword)?.strip_prefix(" \""));
    heads.map(|it| {
        let mut labels = it.split('"').step_by(2);
        let mut label = || labels.next().unwrap_or_default().trim_matches([' ', '{']).to_owned();
        (label(), label())
    })
}

/// The module's configuration, by file.
fn hcl() -> Vec<(String, String)> {
    let entries = fs::read_dir(root().join("deploy/terraform")).unwrap();
    let names = entries.map(|it| it.unwrap().file_name().into_string().unwrap());
    let names = names.filter(|it| Path::new(it).extension().is_some_and(|it| it == "tf"));
    names.map(|it| (it.clone(), module(&it))).collect()
}

fn module(file: &str) -> String {
    let path = root().join("deploy/terraform").join(file);
    fs::read_to_string(&path).unwrap_or_else(|it| panic!("{}: {it}", path.display()))
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests lie in the repository")
}
