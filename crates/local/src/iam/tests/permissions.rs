//! What the identity side's own methods need: each with exactly that, and with all but that.

use super::gate::universe;
use super::*;

const ROLE: &str = "projects/demo-project/roles/mine";

/// Method, path below the project, body and permission.
fn methods() -> Vec<(&'static str, String, Value, &'static str)> {
    let account = "/serviceAccounts/worker@demo-project.iam.gserviceaccount.com";
    let pool = "/locations/global/workloadIdentityPools/gitlab";
    let service = "/services/pubsub.googleapis.com";
    let (none, policy) = (|| Value::Null, || json!({"policy": {"bindings": []}}));
    let provider = || format!("{pool}/providers/ci");
    vec![
        ("GET", String::new(), none(), "resourcemanager.projects.get"),
        ("POST", ":getIamPolicy".to_owned(), none(), "resourcemanager.projects.getIamPolicy"),
        ("GET", "/serviceAccounts".to_owned(), none(), "iam.serviceAccounts.list"),
        ("GET", account.to_owned(), none(), "iam.serviceAccounts.get"),
        ("POST", format!("{account}:getIamPolicy"), none(), "iam.serviceAccounts.getIamPolicy"),
        ("POST", format!("{account}:setIamPolicy"), policy(), "iam.serviceAccounts.setIamPolicy"),
        ("GET", pool.to_owned(), none(), "iam.workloadIdentityPools.get"),
        ("PATCH", pool.to_owned(), json!({}), "iam.workloadIdentityPools.update"),
        ("GET", provider(), none(), "iam.workloadIdentityPoolProviders.get"),
        ("PATCH", provider(), json!({}), "iam.workloadIdentityPoolProviders.update"),
        ("GET", service.to_owned(), none(), "serviceusage.services.get"),
        ("POST", format!("{service}:enable"), none(), "serviceusage.services.enable"),
        ("POST", format!("{service}:disable"), none(), "serviceusage.services.disable"),
        // The last one: it takes away the binding that the others need.
        ("POST", ":setIamPolicy".to_owned(), policy(), "resourcemanager.projects.setIamPolicy"),
    ]
}

#[tokio::test]
async fn methods_need_what_is_documented() {
    let iam = &Iam::new();
    iam.create_project(PROJECT);
    iam.create_service_account(PROJECT, "worker");
    iam.create_pool(PROJECT, "gitlab");
    let provider = Provider::new("http://127.0.0.1:1", &[("google.subject", "assertion.sub")]);
    iam.put_provider(PROJECT, "gitlab", "ci", provider).unwrap();
    iam.enforce(true);
    let me = iam.user_token("me@example.org");
    iam.put_role(ROLE, &[]);
    iam.bind(&Resource::project(PROJECT), ROLE, "user:me@example.org").unwrap();
    for (method, path, body, permission) in methods() {
        let path = format!("/v1/projects/{PROJECT}{path}");
        let send = async |token: &str| send(iam, token, method, &path, &body).await.status;
        for token in ["", "unknown"] {
            assert_eq!(send(token).await, 401, "{method} {path}");
        }
        let others: Vec<_> = universe().into_iter().filter(|it| *it != permission).collect();
        iam.put_role(ROLE, &others);
        assert_eq!(send(&me).await, 403, "{method} {path} without {permission}");
        iam.put_role(ROLE, &[permission]);
        assert_eq!(send(&me).await, 200, "{method} {path} with {permission}");
    }
}
