//! Whom the policy lets in that GKE's overlay brings, and that Terraform fills in.

use std::fs;
use std::path::Path;
use std::process::Command;

use branchline_tests::processes::executable;
use serde_json::{Value, json};

const NAMED: &str = "nobody trains but the projects that this policy names";

fn top() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// The policy as a platform team fills it in, for the requests of the examples.
fn filled_in() -> String {
    let path = top().join("deploy/k8s/overlays/gke/policy.yaml");
    let text = fs::read_to_string(path).unwrap();
    let text = text.replace("PROJECT-artifacts", "demo-artifacts");
    text.replace("PROJECT", "demo-project").replace("GROUP", "demo")
}

/// The example's request, as the trainer, with what differs in its one pool of workers.
fn request(differs: &[(&str, Value)]) -> Value {
    let path = top().join("examples/requests/iris.json");
    let mut request: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    let spec = &mut request["training"]["custom_job"]["jobSpec"];
    spec["serviceAccount"] = "branchline-trainer@demo-project.iam.gserviceaccount.com".into();
    for (key, value) in differs {
        spec["workerPoolSpecs"][0][key] = value.clone();
    }
    request
}

#[test]
fn merge_requests_train_on_one_small_machine_and_protected_refs_on_what_they_need() {
    let small = request(&[]);
    let large = request(&[("machineSpec", json!({"machineType": "n1-standard-96"}))]);
    let gpu = json!({
        "machineType": "n1-standard-8", "acceleratorType": "NVIDIA_TESLA_T4", "acceleratorCount": 1,
    });
    let gpu = request(&[("machineSpec", gpu)]);
    let two = request(&[("replicaCount", json!(2))]);
    let five = request(&[("replicaCount", json!(5))]);
    let mut nobody = small.clone();
    nobody["training"]["custom_job"]["jobSpec"]["serviceAccount"] = Value::Null;
    let mut stranger = small.clone();
    stranger["gitlab"]["project_path"] = "sales/iris".into();
    let mut strangers_five = five.clone();
    strangers_five["gitlab"]["project_path"] = "sales/iris".into();
    let mut strangers_own = stranger.clone();
    let spec = &mut strangers_own["training"]["custom_job"]["jobSpec"];
    spec["serviceAccount"] = "owner@sales.iam.gserviceaccount.com".into();

    let main = json!({"ref_protected": "true", "project_id": "7", "job_project_id": "7"});
    let branch = json!({"ref_protected": "false", "project_id": "7", "job_project_id": "7"});
    // In its merge request's pipeline, which runs in the project it is for.
    let fork = json!({"ref_protected": "false", "project_id": "9", "job_project_id": "7"});
    let unknown = json!({});
    let on_one = "trains on one machine without accelerators";
    let cases = [
        ("a merge request", &small, &branch, "allowed", ""),
        ("its large machine", &large, &branch, "denied", "at most 8 cores"),
        ("its GPU", &gpu, &branch, "denied", on_one),
        ("its two machines", &two, &branch, "denied", on_one),
        ("no word on protection, and a GPU", &gpu, &unknown, "denied", on_one),
        ("main", &small, &main, "allowed", ""),
        ("main, a large machine", &large, &main, "allowed", ""),
        ("main, a GPU", &gpu, &main, "allowed", ""),
        ("main, two machines", &two, &main, "allowed", ""),
        ("main, five machines", &five, &main, "needs-approval", ""),
        ("a fork", &small, &fork, "denied", "fork"),
        ("nobody's account", &nobody, &branch, "denied", "as serviceAccount"),
        ("another group", &stranger, &main, "denied", NAMED),
        ("its branch", &stranger, &branch, "denied", NAMED),
        ("its branch, as nobody knows whom", &stranger, &unknown, "denied", NAMED),
        ("its five machines", &strangers_five, &main, "denied", NAMED),
        ("its account", &strangers_own, &branch, "denied", "as serviceAccount"),
    ];
    let cases = cases.map(|(name, request, claims, expect, violation)| {
        let mut case =
            json!({"name": name, "request": request, "claims": claims, "expect": expect});
        if !violation.is_empty() {
            case["violations"] = json!([violation]);
        }
        case
    });
    holds(&filled_in(), &json!(cases));
}

#[test]
fn where_only_protected_refs_train_no_other_rule_lets_a_branch_in() {
    let first = "  - expression: origin.namespace == ";
    let only =
        "  - expression: origin.ref_protected == true\n    message: only protected refs train\n";
    let policy = filled_in();
    assert!(policy.contains(first));
    let policy = policy.replacen(first, &format!("{only}{first}"), 1);
    let small = request(&[]);
    let case = |name: &str, protected: &str, expect: &str| {
        let claims = json!({"ref_protected": protected, "project_id": "7", "job_project_id": "7"});
        json!({"name": name, "request": small, "claims": claims, "expect": expect})
    };
    holds(&policy, &json!([case("main", "true", "allowed"), case("a branch", "false", "denied")]));
}

fn holds(policy: &str, cases: &Value) {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("policy.yaml"), policy).unwrap();
    // JSON is YAML.
    fs::write(directory.path().join("cases.yaml"), json!({"cases": cases}).to_string()).unwrap();
    let mut test = Command::new(executable());
    test.args(["policy", "test", "--policy", "policy.yaml", "cases.yaml"]);
    let ended = test.current_dir(&directory).env_clear().output().unwrap();
    let [said, error] =
        [&ended.stdout, &ended.stderr].map(|it| String::from_utf8_lossy(it).into_owned());
    assert!(ended.status.success(), "{said}{error}");
}
