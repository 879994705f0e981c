//! Projects, accounts, APIs and policies, over JSON.

use super::*;

const OWNER: &str = "owner@example.org";

/// A project, its owner's token and somebody else's, while everything asks.
fn enforced() -> (Iam, String, String) {
    let iam = Iam::new();
    assert_eq!(iam.create_project(PROJECT), NUMBER);
    iam.bind(&Resource::project(PROJECT), "roles/owner", &format!("user:{OWNER}")).unwrap();
    iam.enforce(true);
    let (owner, other) = (iam.user_token(OWNER), iam.user_token("other@example.org"));
    (iam, owner, other)
}

#[tokio::test]
async fn a_project_is_known_by_its_id_and_its_number() {
    let (iam, owner, other) = &enforced();
    for id in [PROJECT, NUMBER] {
        let get = async |version: &str, token: &str| {
            send(iam, token, "GET", &format!("/{version}/projects/{id}"), &Value::Null).await
        };
        let v1 = get("v1", owner).await.json();
        assert_eq!((&v1["projectId"], &v1["projectNumber"]), (&json!(PROJECT), &json!(NUMBER)));
        let v3 = get("v3", owner).await.json();
        assert_eq!(
            (&v3["projectId"], &v3["name"]),
            (&v1["projectId"], &json!(format!("projects/{NUMBER}")))
        );
        let (status, message) = get("v3", other).await.refusal();
        let expected = format!(
            "Permission 'resourcemanager.projects.get' denied on resource \
             '//cloudresourcemanager.googleapis.com/projects/{id}' (or it may not exist)."
        );
        assert_eq!((status, message), (403, expected));
        assert_eq!([get("v1", "").await.status, get("v1", "unknown").await.status], [401, 401]);
    }
}

#[tokio::test]
async fn a_policy_is_changed_by_whoever_has_read_it_last() {
    let (iam, owner, other) = &enforced();
    let email = iam.create_service_account(PROJECT, "worker");
    for path in [
        format!("/v1/projects/{PROJECT}"),
        format!("/v1/projects/{PROJECT}/serviceAccounts/{email}"),
    ] {
        let post = async |token: &str, verb: &str, body: &Value| {
            send(iam, token, "POST", &format!("{path}:{verb}"), body).await
        };
        let mut policy = post(owner, "getIamPolicy", &Value::Null).await.json();
        let mut bindings = policy["bindings"].as_array().cloned().unwrap_or_default();
        let mine = json!({"role": "roles/browser", "members": ["user:other@example.org"]});
        bindings.push(mine.clone());
        policy["bindings"] = json!(bindings);
        let body = json!({"policy": policy});
        assert_eq!(post(other, "setIamPolicy", &body).await.status, 403);
        let changed = post(owner, "setIamPolicy", &body).await.json();
        assert_eq!(changed["bindings"], policy["bindings"]);
        assert_eq!(changed, post(owner, "getIamPolicy", &Value::Null).await.json());
        let stale = post(owner, "setIamPolicy", &body).await;
        assert_eq!((stale.status, &stale.json()["error"]["status"]), (409, &json!("ABORTED")));
        for (binding, version) in [
            (json!({"role": "roles/none", "members": ["user:a@b.c"]}), 1),
            (json!({"role": "roles/browser", "members": ["a@b.c"]}), 1),
            (json!({"role": "roles/browser", "members": [], "condition": {"expression": "a."}}), 3),
            (
                json!({"role": "roles/browser", "members": [], "condition": {"expression": "true"}}),
                1,
            ),
        ] {
            let body = json!({"policy": {"version": version, "bindings": [binding]}});
            assert_eq!(post(owner, "setIamPolicy", &body).await.status, 400, "{binding}");
        }
    }
}

#[tokio::test]
async fn testing_permissions_says_what_the_caller_holds() {
    let (iam, owner, other) = &enforced();
    let email = iam.create_service_account(PROJECT, "worker");
    let account = Resource::account(&email);
    let asked = ["iam.serviceAccounts.actAs", "iam.serviceAccounts.getAccessToken"];
    let path = format!("/v1/projects/{PROJECT}/serviceAccounts/{email}:testIamPermissions");
    let test = async |token: &str| {
        let reply = send(iam, token, "POST", &path, &json!({"permissions": asked})).await;
        assert_eq!(reply.status, 200, "{}", reply.text);
        reply.json()
    };
    // The owner of the project inherits what is the project's, and has no tokens.
    assert_eq!(test(owner).await, json!({"permissions": ["iam.serviceAccounts.actAs"]}));
    assert_eq!(test(other).await, json!({}));
    iam.put_role(&format!("projects/{PROJECT}/roles/both"), &asked);
    iam.bind(&account, &format!("projects/{PROJECT}/roles/both"), "allAuthenticatedUsers").unwrap();
    assert_eq!(test(other).await, json!({"permissions": asked}));
    assert_eq!(send(iam, "", "POST", &path, &json!({})).await.status, 401);
    iam.enforce(false);
    assert_eq!(test("").await, json!({"permissions": asked}), "nothing is asked of anybody");
    iam.unbind(&account, &format!("projects/{PROJECT}/roles/both"), "allAuthenticatedUsers");
    assert_eq!(test(other).await, json!({}), "whoever says who they are is told the truth");
}

#[tokio::test]
async fn accounts_are_listed_and_read() {
    let (iam, owner, other) = &enforced();
    iam.create_project("another");
    iam.create_service_account("another", "worker");
    let emails = ["notifier", "worker"].map(|it| iam.create_service_account(PROJECT, it));
    let path = format!("/v1/projects/{PROJECT}/serviceAccounts");
    let list = send(iam, owner, "GET", &path, &Value::Null).await.json();
    let listed = list["accounts"].as_array().unwrap().iter().map(|it| it["email"].clone());
    assert_eq!(listed.collect::<Vec<_>>(), emails);
    let one = send(iam, owner, "GET", &format!("{path}/{}", emails[1]), &Value::Null).await.json();
    assert_eq!(one, list["accounts"][1]);
    for path in [path.clone(), format!("{path}/{}", emails[0])] {
        assert_eq!(send(iam, other, "GET", &path, &Value::Null).await.status, 403, "{path}");
    }
    let missing = format!("{path}/none@{PROJECT}.iam.gserviceaccount.com");
    assert_eq!(send(iam, owner, "GET", &missing, &Value::Null).await.status, 404);
}

#[tokio::test]
async fn an_api_can_be_disabled() {
    let (iam, owner, other) = &enforced();
    let path = format!("/v1/projects/{PROJECT}/services/cloudresourcemanager.googleapis.com");
    let state = async || send(iam, owner, "GET", &path, &Value::Null).await.json()["state"].clone();
    let act = async |token: &str, verb: &str| {
        send(iam, token, "POST", &format!("{path}:{verb}"), &json!({})).await.status
    };
    assert_eq!(state().await, "ENABLED");
    assert_eq!(act(other, "disable").await, 403);
    assert_eq!(act(owner, "disable").await, 200);
    assert_eq!(state().await, "DISABLED");
    let refused = send(iam, owner, "GET", &format!("/v1/projects/{PROJECT}"), &Value::Null).await;
    let url = "https://console.developers.google.com/apis/api/cloudresourcemanager.googleapis.com";
    let expected = json!([{
        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
        "reason": "SERVICE_DISABLED",
        "domain": "googleapis.com",
        "metadata": {
            "activationUrl": format!("{url}/overview?project={NUMBER}"),
            "consumer": format!("projects/{NUMBER}"),
            "service": "cloudresourcemanager.googleapis.com",
        },
    }]);
    assert_eq!((refused.status, &refused.json()["error"]["details"]), (403, &expected));
    assert_eq!(act(owner, "enable").await, 200);
    assert_eq!(state().await, "ENABLED");
}
