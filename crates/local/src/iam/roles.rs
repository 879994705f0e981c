//! Google's predefined roles, as far as they matter here, with those of their permissions that
//! something here asks for. Pure.

/// Jobs of Vertex AI and what is done to them.
const VERTEX: &[&str] = &[
    "aiplatform.customJobs.cancel",
    "aiplatform.customJobs.create",
    "aiplatform.customJobs.delete",
    "aiplatform.customJobs.get",
    "aiplatform.customJobs.list",
    "aiplatform.hyperparameterTuningJobs.cancel",
    "aiplatform.hyperparameterTuningJobs.create",
    "aiplatform.hyperparameterTuningJobs.delete",
    "aiplatform.hyperparameterTuningJobs.get",
    "aiplatform.hyperparameterTuningJobs.list",
    "aiplatform.pipelineJobs.cancel",
    "aiplatform.pipelineJobs.create",
    "aiplatform.pipelineJobs.delete",
    "aiplatform.pipelineJobs.get",
    "aiplatform.pipelineJobs.list",
    "aiplatform.trainingPipelines.cancel",
    "aiplatform.trainingPipelines.create",
    "aiplatform.trainingPipelines.delete",
    "aiplatform.trainingPipelines.get",
    "aiplatform.trainingPipelines.list",
];
const OBJECTS_READ: &[&str] = &["storage.objects.get", "storage.objects.list"];
const OBJECTS_WRITE: &[&str] =
    &["storage.objects.create", "storage.objects.delete", "storage.objects.update"];
const PROJECT: &[&str] = &["resourcemanager.projects.get"];
const ACCOUNTS: &[&str] = &["iam.serviceAccounts.get", "iam.serviceAccounts.list"];
const TOKENS: &[&str] =
    &["iam.serviceAccounts.getAccessToken", "iam.serviceAccounts.getOpenIdToken"];
const PUBSUB_READ: &[&str] = &[
    "pubsub.subscriptions.get",
    "pubsub.subscriptions.list",
    "pubsub.topics.get",
    "pubsub.topics.list",
];
const SERVICES_READ: &[&str] = &["serviceusage.services.get", "serviceusage.services.list"];
const POOLS_READ: &[&str] = &[
    "iam.workloadIdentityPoolProviders.get",
    "iam.workloadIdentityPoolProviders.list",
    "iam.workloadIdentityPools.get",
    "iam.workloadIdentityPools.list",
];
const POLICIES_READ: &[&str] = &[
    "iam.serviceAccounts.getIamPolicy",
    "pubsub.subscriptions.getIamPolicy",
    "pubsub.topics.getIamPolicy",
    "resourcemanager.projects.getIamPolicy",
    "storage.buckets.getIamPolicy",
];
const LISTS: &[&str] = &[
    "aiplatform.customJobs.list",
    "aiplatform.hyperparameterTuningJobs.list",
    "aiplatform.pipelineJobs.list",
    "aiplatform.trainingPipelines.list",
    "iam.workloadIdentityPoolProviders.list",
    "iam.workloadIdentityPools.list",
    "pubsub.subscriptions.list",
    "pubsub.topics.list",
    "serviceusage.services.list",
    "storage.buckets.list",
    "storage.objects.list",
];
/// What only the owner has, of those above.
const OWNED: &[&str] = &[
    "iam.serviceAccounts.actAs",
    "iam.serviceAccounts.setIamPolicy",
    "iam.workloadIdentityPoolProviders.update",
    "iam.workloadIdentityPools.update",
    "pubsub.subscriptions.consume",
    "pubsub.subscriptions.create",
    "pubsub.subscriptions.delete",
    "pubsub.subscriptions.setIamPolicy",
    "pubsub.subscriptions.update",
    "pubsub.topics.attachSubscription",
    "pubsub.topics.create",
    "pubsub.topics.delete",
    "pubsub.topics.publish",
    "pubsub.topics.setIamPolicy",
    "pubsub.topics.update",
    "resourcemanager.projects.setIamPolicy",
    "serviceusage.services.disable",
    "serviceusage.services.enable",
    "storage.buckets.create",
    "storage.buckets.get",
    "storage.buckets.setIamPolicy",
];

/// A role, and lists of its permissions.
type Role = (&'static str, &'static [&'static [&'static str]]);

const ROLES: &[Role] = &[
    ("roles/aiplatform.user", &[VERTEX, PROJECT]),
    ("roles/browser", &[PROJECT, &["resourcemanager.projects.getIamPolicy"]]),
    ("roles/iam.securityReviewer", &[POLICIES_READ, LISTS, ACCOUNTS]),
    ("roles/iam.serviceAccountOpenIdTokenCreator", &[&["iam.serviceAccounts.getOpenIdToken"]]),
    ("roles/iam.serviceAccountTokenCreator", &[TOKENS, ACCOUNTS, PROJECT]),
    ("roles/iam.serviceAccountUser", &[&["iam.serviceAccounts.actAs"], ACCOUNTS, PROJECT]),
    ("roles/iam.workloadIdentityPoolViewer", &[POOLS_READ, PROJECT]),
    ("roles/iam.workloadIdentityUser", &[TOKENS, ACCOUNTS]),
    // It has no tokens of service accounts: neither has the real one. Objects it has by way of the
    // bucket's bindings for owners of the project, which are not kept here.
    (
        "roles/owner",
        &[
            VERTEX,
            OBJECTS_READ,
            OBJECTS_WRITE,
            PROJECT,
            ACCOUNTS,
            PUBSUB_READ,
            SERVICES_READ,
            POOLS_READ,
            POLICIES_READ,
            LISTS,
            OWNED,
        ],
    ),
    (
        "roles/pubsub.editor",
        &[PUBSUB_READ, &["pubsub.subscriptions.consume", "pubsub.topics.publish"]],
    ),
    ("roles/pubsub.publisher", &[&["pubsub.topics.publish"]]),
    (
        "roles/pubsub.subscriber",
        &[&["pubsub.subscriptions.consume", "pubsub.topics.attachSubscription"]],
    ),
    ("roles/pubsub.viewer", &[PUBSUB_READ, PROJECT, &["serviceusage.services.list"]]),
    ("roles/serviceusage.serviceUsageViewer", &[SERVICES_READ]),
    ("roles/storage.legacyBucketReader", &[&["storage.buckets.get", "storage.objects.list"]]),
    ("roles/storage.objectAdmin", &[OBJECTS_READ, OBJECTS_WRITE, PROJECT]),
    ("roles/storage.objectCreator", &[&["storage.objects.create"], PROJECT]),
    ("roles/storage.objectUser", &[OBJECTS_READ, OBJECTS_WRITE, PROJECT]),
    ("roles/storage.objectViewer", &[OBJECTS_READ, PROJECT]),
];

/// The permissions of a predefined role, or that there is none of this name.
pub(super) fn permissions(role: &str) -> Option<impl Iterator<Item = &'static str>> {
    let (_, lists) = ROLES.iter().find(|(name, _)| *name == role)?;
    Some(lists.iter().flat_map(|it| it.iter().copied()))
}
