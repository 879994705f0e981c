//! At the worker and the notifier.

use branchline_local::gitlab::AccessLevel;
use branchline_local::iam::Resource;
use branchline_local::installation::{ARTIFACTS, LEDGER, PROJECT, STAGING, subscription, topic};
use serde_json::json;

use super::{Fault, agent, lose, one};
use crate::clinic::{Clinic, account};
use crate::fixes::{delete_subscription, patch_subscription, put_subscription};
use crate::looks::Part;

pub(super) const FAULTS: &[Fault] = &[
    one(
        Part::Worker,
        "vertex",
        "no right to train",
        |it| lose(it, &Resource::project(PROJECT), "roles/aiplatform.user", "worker"),
        "permission",
        "roles/aiplatform.user",
    ),
    one(
        Part::Worker,
        "trainer",
        "no right to act as the service account",
        |it| {
            lose(
                it,
                &Resource::account(&account("trainer")),
                "roles/iam.serviceAccountUser",
                "worker",
            );
        },
        "permission",
        "iam.serviceAccounts.actAs",
    ),
    one(
        Part::Worker,
        "artifacts",
        "no right to read artifacts",
        |it| lose(it, &Resource::bucket(ARTIFACTS), "roles/storage.objectViewer", "worker"),
        "permission",
        "storage.objects.get on bucket",
    ),
    one(
        Part::Worker,
        "subscriber",
        "no right to take messages",
        |it| {
            lose(
                it,
                &Resource::subscription(PROJECT, "artifact-ready-worker"),
                "roles/pubsub.subscriber",
                "worker",
            );
        },
        "permission",
        "pubsub.subscriptions.consume",
    ),
    one(
        Part::Worker,
        "events",
        "no right to tell",
        |it| lose(it, &Resource::topic(PROJECT, "run-events"), "roles/pubsub.publisher", "worker"),
        "permission",
        "pubsub.topics.publish on topic run-events",
    ),
    one(
        Part::Worker,
        "agent publishes",
        "Pub/Sub may not publish dead letters",
        |it| {
            it.stack.iam.unbind(
                &Resource::topic(PROJECT, "dead-letters"),
                "roles/pubsub.publisher",
                &agent(it),
            );
        },
        "service-agent",
        "roles/pubsub.publisher on topic dead-letters",
    ),
    one(
        Part::Worker,
        "agent takes",
        "Pub/Sub may not take messages off",
        |it| {
            it.stack.iam.unbind(
                &Resource::subscription(PROJECT, "artifact-ready-worker"),
                "roles/pubsub.subscriber",
                &agent(it),
            );
        },
        "service-agent",
        "roles/pubsub.subscriber on subscription",
    ),
    one(
        Part::Worker,
        "vertex ai",
        "Vertex AI is switched off",
        |it| it.stack.iam.disable_api(PROJECT, "aiplatform.googleapis.com"),
        "api",
        "aiplatform.googleapis.com is disabled",
    ),
    one(
        Part::Worker,
        "vertex ai",
        "a region that is none",
        |it| it.worker["regions"] = json!(["mars-north1"]),
        "region",
        "no Vertex AI in mars-north1",
    )
    .by_hand("below regions", |it| it.worker["regions"] = json!(["europe-west4"])),
    one(
        Part::Worker,
        "bucket",
        "a bucket that is not there",
        |it| it.worker["output_bucket"] = json!("demo-outputs"),
        "missing",
        "bucket demo-outputs does not exist",
    ),
    one(
        Part::Worker,
        "events",
        "a topic that is not there",
        |it| it.worker["run_event_topic"] = json!(topic(PROJECT, "run-evnets")),
        "missing",
        "topic run-evnets does not exist",
    ),
    one(
        Part::Worker,
        "configuration",
        "no policy",
        |it| std::fs::remove_file(it.file("policy.yaml")).unwrap(),
        "config",
        "policy.yaml cannot be read",
    ),
    one(
        Part::Worker,
        "configuration",
        "a file of signing keys that is not there",
        |it| it.worker["identity"]["issuers"][0]["jwks_file"] = json!(it.file("jwks.json")),
        "issuer-keys",
        "jwks.json",
    ),
    one(
        Part::Worker,
        "staging",
        "no right to make copies",
        |it| {
            it.worker["staging"] = json!({"bucket": STAGING});
            lose(it, &Resource::bucket(STAGING), "roles/storage.objectCreator", "worker");
        },
        "permission",
        "storage.objects.create on bucket demo-staging",
    ),
    one(
        Part::Worker,
        "retry policy",
        "no retry policy",
        |it| patch_subscription(it, "artifact-ready-worker", &json!({"retryPolicy": null})),
        "subscription",
        "has no retry policy",
    ),
    one(
        Part::Worker,
        "dead letters",
        "nobody who keeps dead letters",
        |it| delete_subscription(it, "dead-letters-archive"),
        "subscription",
        "topics/dead-letters has no subscription",
    ),
    one(
        Part::Notifier,
        "deadline",
        "an ack deadline that is too short",
        |it| patch_subscription(it, "run-events-notifier", &json!({"ackDeadlineSeconds": 10})),
        "subscription",
        "an ack deadline of 10 s",
    ),
    one(
        Part::Notifier,
        "dead letters",
        "no dead-letter policy",
        |it| patch_subscription(it, "run-events-notifier", &json!({"deadLetterPolicy": null})),
        "subscription",
        "has no dead-letter policy",
    ),
    one(
        Part::Notifier,
        "ledger",
        "no right to read the ledger",
        |it| lose(it, &Resource::bucket(LEDGER), "roles/storage.objectViewer", "notifier"),
        "permission",
        "storage.objects.get on bucket",
    ),
    one(
        Part::Notifier,
        "gitlab token",
        "a token that may only read",
        |it| {
            it.gitlab_token = it
                .stack
                .gitlab
                .create_token("weak", AccessLevel::Maintainer, &["read_api"])
                .unwrap();
        },
        "gitlab-scope",
        "the scope read_api, and not api",
    )
    .by_hand("make a token with the scope api", |it| it.gitlab_token = it.stack.gitlab.token()),
    one(
        Part::Notifier,
        "gitlab token",
        "a token that is none",
        |it| "glpat-nothing".clone_into(&mut it.gitlab_token),
        "gitlab-token",
        "does not take the token",
    )
    .by_hand("make a token with the scope api", |it| it.gitlab_token = it.stack.gitlab.token()),
    one(
        Part::Notifier,
        "gitlab token",
        "no token",
        |it| it.gitlab_token.clear(),
        "config",
        "there is no token for GitLab",
    )
    .by_hand("set BRANCHLINE_GITLAB_TOKEN", |it| it.gitlab_token = it.stack.gitlab.token()),
    one(
        Part::Notifier,
        "gitlab token",
        "a file with a token that is not there",
        |it| it.gitlab_token_file = Some(it.file("none")),
        "config",
        "reading GitLab's token from",
    )
    .by_hand("set BRANCHLINE_GITLAB_TOKEN", |it| it.gitlab_token_file = None),
    one(
        Part::Notifier,
        "gitlab token",
        "a user who may set no status on main",
        |it| {
            it.gitlab_token =
                it.stack.gitlab.create_user("developer", AccessLevel::Developer).unwrap();
        },
        "gitlab-role",
        "no status of others on the protected branch main",
    ),
    one(
        Part::Notifier,
        "gitlab token",
        "a user who is no member",
        |it| {
            it.gitlab_token = it.stack.gitlab.create_user("stranger", AccessLevel::None).unwrap();
        },
        "gitlab-role",
        "does not see project",
    ),
    one(
        Part::Notifier,
        "deadline",
        "events out of order",
        |it| {
            let name = subscription(PROJECT, "run-events-mixed");
            let settings = json!({
                "topic": topic(PROJECT, "run-events"), "ackDeadlineSeconds": 60,
                "expirationPolicy": {},
                "retryPolicy": {"minimumBackoff": "10s", "maximumBackoff": "600s"},
                "deadLetterPolicy": {"deadLetterTopic": topic(PROJECT, "dead-letters"),
                    "maxDeliveryAttempts": 100},
            });
            put_subscription(it, &name, &settings);
            it.notifier["subscription"] = json!(name);
            let on = Resource::subscription(PROJECT, "run-events-mixed");
            let notifier = format!("serviceAccount:{}", account("notifier"));
            for member in [notifier, agent(it)] {
                it.stack.iam.bind(&on, "roles/pubsub.subscriber", &member).unwrap();
            }
        },
        "subscription",
        "does not keep the order of events",
    )
    .barring(),
    one(
        Part::Worker,
        "credentials",
        "a pod with the key of a service account",
        |it| {
            it.impersonates = false;
            it.key_file = Some(json!({"type": "service_account", "private_key": "-"}));
        },
        "credentials",
        "is the key of a service account",
    )
    .by_hand("unset GOOGLE_APPLICATION_CREDENTIALS", |it| it.key_file = None)
    .barring(),
    one(
        Part::Notifier,
        "credentials",
        "a pod that acts as somebody by another's key",
        |it| {
            it.impersonates = false;
            it.key_file = Some(json!({"type": "impersonated_service_account",
                "source_credentials": {"type": "service_account", "private_key": "-"}}));
        },
        "credentials",
        "is the key of a service account",
    )
    .by_hand("unset GOOGLE_APPLICATION_CREDENTIALS", |it| it.key_file = None)
    .barring(),
    one(
        Part::Notifier,
        "gitlab token",
        "a user who may only read",
        |it| {
            it.gitlab_token = it.stack.gitlab.create_user("reader", AccessLevel::Reporter).unwrap();
        },
        "gitlab-role",
        "not a Maintainer",
    ),
    one(
        Part::All,
        "operators",
        "operators, and a notifier that proves nothing",
        |it| it.worker["operators"] = json!({"members": {}, "audiences": ["branchline"]}),
        "operators",
        "has no merge_requests.audience",
    )
    .by_hand("# add ", enlist),
    one(
        Part::All,
        "operators",
        "operators, and a notifier that is none of them",
        |it| {
            enlist(it);
            it.worker["operators"]["members"] = json!({});
        },
        "operators",
        "among the operators",
    )
    .by_hand("# add ", enlist),
];

/// Makes the notifier an operator.
fn enlist(it: &mut Clinic) {
    it.worker["operators"] =
        json!({"members": {account("notifier"): {}}, "audiences": ["branchline"]});
    it.notifier["merge_requests"]["audience"] = json!("branchline");
}
