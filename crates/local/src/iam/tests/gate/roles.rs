//! What the predefined roles are good for, as `testIamPermissions` tells their members.

use super::*;

/// A role, and all that it holds.
const ROLES: &[(&str, &[&str])] = &[
    ("roles/pubsub.publisher", &["pubsub.topics.publish"]),
    (
        "roles/pubsub.subscriber",
        &["pubsub.subscriptions.consume", "pubsub.topics.attachSubscription"],
    ),
    (
        "roles/pubsub.viewer",
        &[
            "pubsub.subscriptions.get",
            "pubsub.subscriptions.list",
            "pubsub.topics.get",
            "pubsub.topics.list",
            "resourcemanager.projects.get",
            "serviceusage.services.list",
        ],
    ),
    (
        "roles/storage.objectViewer",
        &["resourcemanager.projects.get", "storage.objects.get", "storage.objects.list"],
    ),
    ("roles/storage.objectCreator", &["resourcemanager.projects.get", "storage.objects.create"]),
    (
        "roles/storage.objectUser",
        &[
            "resourcemanager.projects.get",
            "storage.objects.create",
            "storage.objects.delete",
            "storage.objects.get",
            "storage.objects.list",
            "storage.objects.update",
        ],
    ),
    (
        "roles/storage.objectAdmin",
        &[
            "resourcemanager.projects.get",
            "storage.objects.create",
            "storage.objects.delete",
            "storage.objects.get",
            "storage.objects.list",
            "storage.objects.update",
        ],
    ),
    ("roles/storage.legacyBucketReader", &["storage.buckets.get", "storage.objects.list"]),
    (
        "roles/iam.serviceAccountUser",
        &[
            "iam.serviceAccounts.actAs",
            "iam.serviceAccounts.get",
            "iam.serviceAccounts.list",
            "resourcemanager.projects.get",
        ],
    ),
    (
        "roles/iam.workloadIdentityUser",
        &[
            "iam.serviceAccounts.get",
            "iam.serviceAccounts.getAccessToken",
            "iam.serviceAccounts.getOpenIdToken",
            "iam.serviceAccounts.list",
        ],
    ),
    (
        "roles/iam.serviceAccountTokenCreator",
        &[
            "iam.serviceAccounts.get",
            "iam.serviceAccounts.getAccessToken",
            "iam.serviceAccounts.getOpenIdToken",
            "iam.serviceAccounts.list",
            "resourcemanager.projects.get",
        ],
    ),
    ("roles/iam.serviceAccountOpenIdTokenCreator", &["iam.serviceAccounts.getOpenIdToken"]),
    ("roles/browser", &["resourcemanager.projects.get", "resourcemanager.projects.getIamPolicy"]),
    ("roles/logging.viewer", &["logging.logEntries.list", "resourcemanager.projects.get"]),
    (
        "roles/serviceusage.serviceUsageViewer",
        &["serviceusage.services.get", "serviceusage.services.list"],
    ),
];

/// What the caller holds in the project, of everything there is.
async fn held(yard: &Yard) -> Vec<String> {
    let path = format!("/v1/projects/{PROJECT}:testIamPermissions");
    let ask = json!({"permissions": universe()});
    let reply = super::super::send(&yard.iam, &yard.token, "POST", &path, &ask).await.json();
    let held = reply["permissions"].as_array().cloned().unwrap_or_default();
    held.iter().map(|it| it.as_str().unwrap().to_owned()).collect()
}

async fn holds(role: &str) -> Vec<String> {
    let yard = Yard::new();
    yard.iam.bind(&Resource::project(PROJECT), role, &format!("serviceAccount:{ME}")).unwrap();
    held(&yard).await
}

#[tokio::test]
async fn a_role_holds_what_it_is_for_and_nothing_else() {
    for (role, expected) in ROLES {
        assert_eq!(holds(role).await, *expected, "{role}");
    }
}

#[tokio::test]
async fn the_wide_roles_hold_all_of_their_kind() {
    let universe = universe();
    let such = |what: &dyn Fn(&str) -> bool| -> Vec<&str> {
        universe.iter().copied().filter(|it| what(it)).collect()
    };
    let vertex = such(&|it| it.starts_with("aiplatform.") || it == "resourcemanager.projects.get");
    assert_eq!(holds("roles/aiplatform.user").await, vertex);
    let reviewed = such(&|it| {
        let verb = it.rsplit('.').next();
        // What a log says is no resource that is listed.
        (it != "logging.logEntries.list" && matches!(verb, Some("list" | "getIamPolicy")))
            || it == "iam.serviceAccounts.get"
    });
    assert_eq!(holds("roles/iam.securityReviewer").await, reviewed);
    let owned = such(&|it| !it.ends_with("Token"));
    assert_eq!(holds("roles/owner").await, owned);
}

#[tokio::test]
async fn a_custom_role_holds_what_it_was_made_of() {
    let yard = Yard::new();
    assert_eq!(held(&yard).await, Vec::<String>::new());
    yard.hold(&["pubsub.topics.publish", "storage.objects.get"]);
    assert_eq!(held(&yard).await, ["pubsub.topics.publish", "storage.objects.get"]);
    let unknown = yard.iam.bind(&Resource::project(PROJECT), "roles/none", "allUsers");
    assert!(unknown.is_err());
    assert!(yard.iam.bind(&Resource::project(PROJECT), ROLE, "nobody").is_err());
}
