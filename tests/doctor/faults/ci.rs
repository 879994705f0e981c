//! In a CI job, and at its identity provider.

use branchline_local::iam::Resource;
use branchline_local::installation::{ARTIFACTS, PROJECT};
use serde_json::json;

use super::{Fault, at, bars, credentials, lose, one, provide};
use crate::clinic::{POOL, account};
use crate::looks::Part;

const OF_TWO: &str = r#"assertion.namespace_path == "vision" && assertion.ref_protected == "true" || assertion.namespace_path == "sound""#;
const OF_PLACE: &str = r#"assertion.environment + "!""#;

pub(super) const FAULTS: &[Fault] = &[
    one(
        Part::Ci,
        "own token",
        "no token for Branchline",
        |it| it.own_token = None,
        "token",
        "BRANCHLINE_ID_TOKEN is not set",
    ),
    one(
        Part::Ci,
        "own token",
        "a token for another service",
        |it| it.own_token.as_mut().unwrap()["aud"] = json!("https://vault.example.com"),
        "audience",
        "is for https://vault.example.com, and not for branchline",
    ),
    bars(
        "no credential file",
        |it| it.credentials = None,
        "credentials",
        "GOOGLE_APPLICATION_CREDENTIALS is not set",
    )
    .by_hand("create-cred-config writes that file", |it| {
        it.credentials = Some(it.good_credentials.clone());
    }),
    bars(
        "the key of a service account",
        |it| {
            it.credentials = Some(json!({
                "type": "service_account", "private_key": "-", "client_email": account("ci"),
            }));
        },
        "credentials",
        "is the key of a service account",
    ),
    bars(
        "a token that is said to be something else",
        |it| {
            credentials(it, "/subject_token_type", |_| {
                "urn:ietf:params:oauth:token-type:saml2".to_owned()
            });
        },
        "credentials",
        "urn:ietf:params:oauth:token-type:saml2",
    ),
    bars(
        "a token that is sent to somebody else",
        |it| {
            credentials(it, "/token_url", |_| "https://sts.example.com/v1/token".to_owned());
        },
        "credentials",
        "https://sts.example.com/v1/token",
    ),
    bars(
        "an address in the place of a provider's name",
        |it| credentials(it, "/audience", |name| format!("https:{name}")),
        "provider-name",
        "does not begin with //iam.googleapis.com/",
    ),
    bars(
        "a provider's name without its service",
        |it| {
            credentials(it, "/audience", |name| name.replace("//iam.googleapis.com/", ""));
        },
        "provider-name",
        "does not begin with //iam.googleapis.com/",
    ),
    bars(
        "a pool in the place of a provider",
        |it| {
            credentials(it, "/audience", |name| {
                name.rsplit_once("/providers/").unwrap().0.to_owned()
            });
        },
        "provider-name",
        "names the pool gitlab and no provider",
    ),
    bars(
        "a project's id in the place of its number",
        |it| {
            let number = it.stack.iam.create_project(PROJECT);
            credentials(it, "/audience", |name| name.replace(&number, PROJECT));
        },
        "provider-name",
        "by its id",
    ),
    bars(
        "a line feed behind the token",
        |it| it.behind_token = "\n",
        "credentials",
        "white space around its token",
    ),
    bars(
        "a token for another audience",
        |it| it.google_token["aud"] = json!("https://iam.example.com"),
        "audience",
        "is for https://iam.example.com",
    ),
    bars(
        "another GitLab",
        |it| provide(it, |provider| "https://gitlab.example.com".clone_into(&mut provider.issuer)),
        "issuer",
        "trusts https://gitlab.example.com",
    ),
    bars(
        "an issuer with a slash at its end",
        |it| provide(it, |provider| provider.issuer += "/"),
        "issuer",
        "trusts http://",
    ),
    bars("a disabled pool", |it| it.disable_pool(true), "pool", "gitlab is disabled or deleted"),
    bars(
        "a token that somebody changed",
        |it| it.tampered = true,
        "signature",
        "Unable to verify the ID Token signature",
    ),
    bars(
        "a token of the day before",
        |it| at(it, -90_000, 600),
        "expired",
        "issued more than 24 h ago",
    )
    .by_hand("publish in a job of its own", |it| at(it, 0, 3_600)),
    bars(
        "a disabled provider",
        |it| provide(it, |provider| provider.disabled = true),
        "provider",
        "is disabled",
    ),
    bars(
        "a mapping of a claim that is not there",
        |it| {
            provide(it, |provider| {
                provider
                    .mapping
                    .insert("google.subject".to_owned(), "assertion.environment".to_owned());
            });
        },
        "mapping",
        "the token has no environment",
    ),
    bars(
        "a mapping of a claim that is not there, among others with commas",
        |it| {
            provide(it, |provider| {
                let kind = r#"assertion.ref in ["main", "next"] ? "release;" : "work""#;
                for (name, cel) in [("kind", kind), ("place", "assertion.environment")] {
                    provider.mapping.insert(format!("attribute.{name}"), cel.to_owned());
                }
            });
        },
        "mapping",
        "the token has no environment",
    ),
    bars(
        "a mapping that only its owner understands",
        |it| {
            provide(it, |provider| {
                provider.mapping.insert("attribute.place".to_owned(), OF_PLACE.to_owned());
            });
        },
        "mapping",
        "the token has no environment",
    )
    .by_hand("write attribute.place so that it is a text", |it| {
        it.google_token["environment"] = json!("prod");
    }),
    bars(
        "a subject that is too long",
        |it| {
            provide(it, |provider| {
                let long = format!("\"{}\" + assertion.project_id", "x".repeat(140));
                provider.mapping.insert("google.subject".to_owned(), long);
            });
        },
        "subject",
        "bytes long",
    ),
    bars(
        "a condition that is false",
        |it| {
            provide(it, |provider| {
                provider.condition = Some(
                    r#"assertion.namespace_path == "ml" && assertion.ref == "release""#.to_owned(),
                );
            });
        },
        "condition",
        "ref is main",
    ),
    bars(
        "a condition in other letters",
        |it| {
            provide(it, |provider| {
                provider.condition = Some(r#"assertion.namespace_path == "ML""#.to_owned());
            });
        },
        "condition",
        "only the case of letters differs",
    ),
    bars(
        "a condition on a claim that is not there",
        |it| {
            provide(it, |provider| {
                provider.condition = Some(
                    r#"assertion.environment == "prod" && assertion.namespace_path == "ml""#
                        .to_owned(),
                );
            });
        },
        "condition",
        "there is no environment",
    )
    .by_hand("run the job where the condition holds", |it| {
        it.google_token["environment"] = json!("prod");
    }),
    bars(
        "a branch that is not protected",
        |it| it.google_token["ref_protected"] = json!("false"),
        "condition",
        "ref_protected is false",
    )
    .by_hand("run the job on a protected branch", |it| {
        it.google_token["ref_protected"] = json!("true");
    }),
    bars(
        "a condition of two, neither of which is met",
        |it| {
            provide(it, |provider| {
                provider.condition = Some(OF_TWO.to_owned());
            });
        },
        "condition",
        "namespace_path is ml",
    )
    .by_hand("change the condition by hand", |it| {
        let wider = format!("{OF_TWO} || assertion.project_path == \"ml/iris\"");
        provide(it, |provider| provider.condition = Some(wider));
    }),
    bars(
        "a private GitLab whose keys were rotated",
        |it| {
            provide(it, |provider| {
                let other = branchline_local::gitlab::GitLab::open(None).unwrap().signer().unwrap();
                provider.jwks = Some(json!({"keys": [other.public()]}).to_string());
            });
        },
        "issuer-keys",
        "Google finds no key",
    ),
    bars("a clock that is ahead", |it| at(it, 400, 4_000), "clock", "in the future"),
    bars("a token that is over", |it| at(it, -8_000, -4_000), "expired", "expired"),
    bars(
        "no right to become the service account",
        |it| {
            let pool = it.stack.iam.create_pool(PROJECT, POOL);
            let set = format!("principalSet:{pool}/attribute.project_id/{}", it.project_id);
            it.stack.iam.unbind(
                &Resource::account(&account("ci")),
                "roles/iam.workloadIdentityUser",
                &set,
            );
        },
        "impersonation",
        "roles/iam.workloadIdentityUser",
    ),
    bars(
        "the pipeline of a fork",
        |it| it.google_token["project_id"] = json!("4711"),
        "impersonation",
        "for a fork's merge request",
    )
    .by_hand("run the job in the project itself", |it| {
        it.google_token["project_id"] = it.google_token["job_project_id"].clone();
    }),
    bars(
        "a binding by an attribute that is not mapped",
        |it| {
            provide(it, |provider| {
                provider.mapping.remove("attribute.project_id");
            });
        },
        "impersonation",
        "nothing to attribute.project_id",
    ),
    bars(
        "the credentials API is off",
        |it| it.stack.iam.disable_api(PROJECT, "iamcredentials.googleapis.com"),
        "api",
        "iamcredentials.googleapis.com",
    ),
    one(
        Part::Ci,
        "publisher",
        "no right to publish",
        |it| lose(it, &Resource::topic(PROJECT, "artifact-ready"), "roles/pubsub.publisher", "ci"),
        "permission",
        "pubsub.topics.publish on topic artifact-ready",
    ),
    one(
        Part::Ci,
        "creator",
        "no right to upload",
        |it| lose(it, &Resource::bucket(ARTIFACTS), "roles/storage.objectCreator", "ci"),
        "permission",
        "storage.objects.create on bucket",
    ),
];
