//! Whom a fix lets in, by tables.

use branchline_gcp::iam::Standing;
use serde_json::json;

use super::*;

const NAME: &str = "projects/7/locations/global/workloadIdentityPools/gitlab/providers/gitlab";

fn read(claims: &serde_json::Value) -> Credentials {
    let audience = format!("//iam.googleapis.com/{NAME}");
    Credentials {
        provider: ProviderName::parse(&audience, None, str::to_owned).unwrap(),
        audience,
        account: None,
        token: String::new(),
        claims: claims.as_object().unwrap().clone(),
        write: String::new(),
    }
}

fn provider(by_project: Option<&str>) -> Provider {
    let mut mapping = vec![("google.subject".to_owned(), "assertion.sub".to_owned())];
    mapping.extend(by_project.map(|it| (BY_PROJECT.to_owned(), it.to_owned())));
    Provider {
        name: NAME.to_owned(),
        issuer: "https://gitlab.com".to_owned(),
        audiences: Vec::new(),
        mapping,
        condition: None,
        standing: Standing::Active,
    }
}

#[test]
fn nobody_but_the_jobs_of_the_project_is_let_in_unasked() {
    let own = json!({"sub": "s", "project_id": "7", "job_project_id": "7", "namespace_id": "3"});
    let fork = json!({"sub": "s", "project_id": "9", "job_project_id": "7", "namespace_id": "3"});
    let old = json!({"sub": "s", "project_id": "7"});
    let (plain, other) =
        (provider(Some("assertion.project_id")), provider(Some("assertion.namespace_id")));
    let commands = |fix: &str| -> Vec<String> {
        fix.lines().filter(|it| !it.starts_with('#')).map(str::to_owned).collect()
    };
    let account = Resource::ServiceAccount("ci@ml.iam.gserviceaccount.com".to_owned());
    let cases = [
        ("by its project", Some(&plain), &own, Some("attribute.project_id/7"), false),
        ("before GitLab 18.4", Some(&plain), &old, Some("attribute.project_id/7"), false),
        ("a fork", Some(&plain), &fork, None, true),
        ("a fork, and no provider is shown", None, &fork, None, true),
        ("no provider is shown", None, &own, Some("attribute.project_id/7"), true),
        // The attribute's name says one thing and its value another: what that is, is said.
        ("by its group", Some(&other), &own, Some("attribute.project_id/3"), true),
        ("a token of something else", Some(&plain), &json!({"sub": "s"}), None, true),
    ];
    for (name, provider, claims, let_in_is, said) in cases {
        let (_, fix) = let_in(provider, &read(claims), &account);
        match (&commands(&fix)[..], let_in_is) {
            ([], None) => {}
            ([command], Some(who)) => assert!(command.contains(who), "{name}: {command}"),
            (other, _) => panic!("{name}: {other:?}"),
        }
        assert_eq!(fix.contains('#'), said, "{name}: {fix}");
    }
    // What is bound where no service account stands between.
    let cases = [
        (Some(&plain), &own, Some("/attribute.project_id/7")),
        (Some(&other), &own, Some("/subject/s")),
        (Some(&plain), &fork, None),
        (None, &own, None),
    ];
    for (provider, claims, expected) in cases {
        let member = federated(provider, &read(claims)).ok();
        let same = |expected: &str| member.as_ref().is_some_and(|it| it.ends_with(expected));
        assert!(expected.map_or(member.is_none(), same), "{member:?}");
    }
}
