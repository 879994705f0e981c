//! Installations with nothing wrong in them, each set up in another way.

use branchline_local::gitlab::AccessLevel;
use branchline_local::iam::Resource;
use branchline_local::installation::{ARTIFACTS, LEDGER, PROJECT, STAGING};
use serde_json::json;

use crate::clinic::{Clinic, POOL, account};
use crate::faults::agent;

type Make = fn(&mut Clinic);

pub(crate) const GOOD: &[(&str, Make)] = &[
    ("as docs/by-hand.md has it", |_| ()),
    ("no service account for CI", |it| {
        let pool = it.stack.iam.create_pool(PROJECT, POOL);
        let set = format!("principalSet:{pool}/attribute.project_id/{}", it.project_id);
        let bind = |on: &Resource, role: &str| it.stack.iam.bind(on, role, &set).unwrap();
        bind(&Resource::topic(PROJECT, "artifact-ready"), "roles/pubsub.publisher");
        for role in ["roles/storage.objectCreator", "roles/storage.objectViewer"] {
            bind(&Resource::bucket(ARTIFACTS), role);
        }
        bind(&Resource::bucket(LEDGER), "roles/storage.objectViewer");
        let file = it.credentials.as_mut().unwrap().as_object_mut().unwrap();
        file.remove("service_account_impersonation_url").unwrap();
    }),
    ("an audience of its own", |it| {
        it.provider.audiences = vec!["https://train.example.com".to_owned()];
        it.put_provider();
        it.google_token["aud"] = json!("https://train.example.com");
    }),
    ("a GitLab that Google cannot reach", |it| {
        let keys = json!({"keys": [it.stack.gitlab.signer().unwrap().public()]});
        it.provider.jwks = Some(keys.to_string());
        it.put_provider();
    }),
    ("one job, by its subject", |it| {
        let pool = it.stack.iam.create_pool(PROJECT, POOL);
        let ci = Resource::account(&account("ci"));
        let role = "roles/iam.workloadIdentityUser";
        let set = format!("principalSet:{pool}/attribute.project_id/{}", it.project_id);
        it.stack.iam.unbind(&ci, role, &set);
        let subject = format!("principal:{pool}/subject/project:{}:ref:main", it.project_id);
        it.stack.iam.bind(&ci, role, &subject).unwrap();
        it.provider.mapping.remove("attribute.project_id");
        it.put_provider();
    }),
    ("a runner that is somebody itself", |it| {
        it.credentials = None;
        it.runner = Some(it.metadata_of("ci"));
    }),
    ("a token in JSON", |it| {
        let format = json!({"type": "json", "subject_token_field_name": "value"});
        it.credentials.as_mut().unwrap()["credential_source"]["format"] = format;
        it.token_field = Some("value");
    }),
    ("a mapping with IAM's own function", |it| {
        let path = r#"assertion.sub.extract("project_path:{path}:ref_type")"#;
        it.provider.mapping.insert("attribute.path".to_owned(), path.to_owned());
        it.provider.condition = Some(r#"attribute.path == "ml/iris""#.to_owned());
        it.put_provider();
    }),
    ("a service agent that has its role on the project", |it| {
        let agent = agent(it);
        let all = [
            (Resource::topic(PROJECT, "dead-letters"), "roles/pubsub.publisher"),
            (Resource::subscription(PROJECT, "artifact-ready-worker"), "roles/pubsub.subscriber"),
            (Resource::subscription(PROJECT, "run-events-notifier"), "roles/pubsub.subscriber"),
        ];
        for (on, role) in all {
            it.stack.iam.unbind(&on, role, &agent);
        }
        it.stack.iam.bind(&Resource::project(PROJECT), "roles/pubsub.editor", &agent).unwrap();
    }),
    ("a Developer who reports, and no branch is protected", |it| {
        it.stack.gitlab.unprotect_branch(it.project_id, "main").unwrap();
        it.gitlab_token = it.stack.gitlab.create_user("d", AccessLevel::Developer).unwrap();
    }),
    ("copies of the inputs", |it| it.worker["staging"] = json!({"bucket": STAGING})),
    ("a condition with functions, and roles for the whole project", |it| {
        let text =
            r#"assertion.project_path.startsWith("ml/") && assertion.ref in ["main", "next"]"#;
        it.provider.condition = Some(text.to_owned());
        it.put_provider();
        let worker = format!("serviceAccount:{}", account("worker"));
        let bucket = Resource::bucket(ARTIFACTS);
        it.stack.iam.unbind(&bucket, "roles/storage.objectViewer", &worker);
        let project = Resource::project(PROJECT);
        it.stack.iam.bind(&project, "roles/storage.objectViewer", &worker).unwrap();
        it.training_accounts.clear();
    }),
];
