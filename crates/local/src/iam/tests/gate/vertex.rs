//! Vertex AI: what each method needs, and as whom a job may run.

use super::*;

const PARENT: &str = "/v1/projects/demo-project/locations/us-central1";

fn at(method: &'static str, path: &str, body: Value, needs: &'static [&'static str]) -> Op {
    rest(Service::Vertex, method, &format!("{PARENT}/{path}"), body, needs)
}

fn spec() -> Value {
    json!({"workerPoolSpecs": [{
        "machineSpec": {"machineType": "n1-standard-4"},
        "replicaCount": 1,
        "containerSpec": {"imageUri": "image", "command": ["true"]},
    }]})
}

/// A collection, a job for it, and where that names its account.
fn jobs() -> [(&'static str, Value, &'static str); 4] {
    let training =
        "gs://google-cloud-aiplatform/schema/trainingjob/definition/custom_task_1.0.0.yaml";
    let study = json!({
        "metrics": [{"metricId": "accuracy", "goal": "MAXIMIZE"}],
        "parameters": [{"parameterId": "lr", "doubleValueSpec": {"minValue": 0.1, "maxValue": 0.2}}],
    });
    let pipeline = include_str!("../../../vertex/tests/pipeline.json");
    [
        ("customJobs", json!({"displayName": "j", "jobSpec": spec()}), "/jobSpec"),
        (
            "hyperparameterTuningJobs",
            json!({"displayName": "j", "maxTrialCount": 1, "parallelTrialCount": 1, "studySpec": study, "trialJobSpec": spec()}),
            "/trialJobSpec",
        ),
        (
            "trainingPipelines",
            json!({"displayName": "j", "trainingTaskDefinition": training, "trainingTaskInputs": spec()}),
            "/trainingTaskInputs",
        ),
        ("pipelineJobs", serde_json::from_str(pipeline).unwrap(), ""),
    ]
}

/// The permissions to create, list, get, cancel and delete.
fn needs(collection: &str, verb: &str) -> &'static str {
    let wanted = format!("aiplatform.{collection}.{verb}");
    universe().into_iter().find(|it| *it == wanted).unwrap()
}

#[tokio::test]
async fn methods_need_what_is_documented() {
    let yard = Yard::new();
    yard.iam.create_service_account(PROJECT, "trainer");
    for (collection, mut job, account) in jobs() {
        job.pointer_mut(account).unwrap()["serviceAccount"] =
            json!(format!("trainer@{PROJECT}.iam.gserviceaccount.com"));
        let mut name = String::new();
        for (verb, method, suffix) in [
            ("create", "POST", ""),
            ("list", "GET", ""),
            ("get", "GET", "/ID"),
            ("cancel", "POST", "/ID:cancel"),
            ("delete", "DELETE", "/ID"),
        ] {
            let path = format!("{collection}{}", suffix.replace("ID", &name));
            let body = if method == "POST" { job.clone() } else { Value::Null };
            let need = needs(collection, verb);
            let op = at(method, &path, body, &[]);
            let others: Vec<_> = universe().into_iter().filter(|it| *it != need).collect();
            yard.hold(&others);
            let refused = yard.send(&op, &yard.token).await;
            assert_eq!(refused.status, 403, "{need}: {refused:?}");
            let on = match suffix {
                "" => format!("projects/{PROJECT}/locations/us-central1"),
                _ => format!("projects/{PROJECT}/locations/us-central1/{collection}/{name}"),
            };
            let message = format!(
                "Permission '{need}' denied on resource '//aiplatform.googleapis.com/{on}' (or it \
                 may not exist)."
            );
            let info = json!([{
                "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                "reason": "IAM_PERMISSION_DENIED",
                "domain": "aiplatform.googleapis.com",
                "metadata": {"permission": need, "resource": on},
            }]);
            let error = &refused.json()["error"];
            assert_eq!((&error["message"], &error["details"]), (&json!(message), &info));
            yard.hold(&[need, "iam.serviceAccounts.actAs"]);
            let mut passed = yard.send(&op, &yard.token).await;
            // What still runs cannot be deleted.
            while verb == "delete" && passed.status == 400 {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
                passed = yard.send(&op, &yard.token).await;
            }
            assert_eq!(passed.status, 200, "{need}: {passed:?}");
            if verb == "create" {
                name =
                    passed.json()["name"].as_str().unwrap().rsplit('/').next().unwrap().to_owned();
            }
            for token in ["", "unknown"] {
                assert_eq!(yard.send(&op, token).await.status, 401, "{need}");
            }
        }
    }
    yard.vertex.shutdown().await;
}

#[tokio::test]
async fn a_job_runs_only_as_an_account_that_its_creator_may_act_as() {
    let yard = Yard::new();
    let trainer = yard.iam.create_service_account(PROJECT, "trainer");
    let missing = format!("missing@{PROJECT}.iam.gserviceaccount.com");
    let default = format!("{NUMBER}-compute@developer.gserviceaccount.com");
    let member = format!("serviceAccount:{ME}");
    let project = Resource::project(PROJECT);
    yard.iam.bind(&project, "roles/aiplatform.user", &member).unwrap();
    for (collection, job, at_account) in jobs() {
        let create = async |field: &str, email: Option<&str>| {
            let mut job = job.clone();
            if let Some(email) = email {
                job.pointer_mut(at_account).unwrap()[field] = json!(email);
            }
            let outcome = yard.send(&at("POST", collection, job, &[]), &yard.token).await;
            (outcome.status, outcome.json()["error"]["message"].as_str().map(str::to_owned))
        };
        let refused = |email: &str| {
            let text = "You do not have permission to act as service_account";
            (400, Some(format!("{text}: {email}. (or it may not exist).")))
        };
        for field in ["serviceAccount", "service_account"] {
            assert_eq!(create(field, Some(&trainer)).await, refused(&trainer), "{collection}");
        }
        let unnamed = create("", None).await;
        let expected = if collection == "pipelineJobs" { refused(&default) } else { (200, None) };
        assert_eq!(unnamed, expected, "{collection}");

        let (user, account) = ("roles/iam.serviceAccountUser", Resource::account(&trainer));
        yard.iam.bind(&account, user, &member).unwrap();
        assert_eq!(create("serviceAccount", Some(&trainer)).await, (200, None), "{collection}");
        yard.iam.unbind(&account, user, &member);
        // For all accounts of the project, as far as they are there.
        yard.iam.bind(&project, user, &member).unwrap();
        assert_eq!(create("serviceAccount", Some(&missing)).await, refused(&missing));
        assert_eq!(create("", None).await, (200, None), "{collection}");
        yard.iam.unbind(&project, user, &member);
    }
    yard.vertex.shutdown().await;
}
