//! Forgeries and genuine tokens, in front of the verifier.

mod account;
mod claims;
mod origin;
mod seal;
pub(crate) mod world;

use std::collections::BTreeSet;

use serde_json::json;

use self::world::{AT, Offer, SECOND_ISSUER, Signer};
use super::{Check, GROUPS, NAMES, OF_CLAIMS, OF_SEAL, OF_TEXT, agreement::OF_AGREEMENT};

type Change = fn(&mut Offer);

/// What makes a genuine token a forged one.
struct Row {
    name: &'static str,
    change: Change,
    /// What operators read.
    reason: &'static str,
    /// The check that finds it, and then those that would find it too.
    found_by: &'static [Check],
}

const fn row(
    name: &'static str,
    change: Change,
    reason: &'static str,
    found_by: &'static [Check],
) -> Row {
    Row { name, change, reason, found_by }
}

fn forgeries() -> impl Iterator<Item = &'static Row> {
    [seal::ROWS, claims::ROWS, origin::ROWS].into_iter().flatten()
}

#[test]
fn every_forgery_is_refused_for_its_own_reason() {
    assert!(forgeries().count() >= 40);
    for Row { name, change, reason, .. } in forgeries() {
        let refused = Offer::changed(*change).judge(&[]).expect_err(name);
        assert_eq!(refused.to_string(), *reason, "{name}");
    }
}

#[test]
fn without_its_checks_every_forgery_passes() {
    for Row { name, change, found_by, .. } in forgeries() {
        let passed = Offer::changed(*change).judge(found_by);
        assert_eq!(passed.err(), None, "{name}");
    }
}

#[test]
fn each_of_the_checks_that_overlap_is_enough() {
    for Row { name, change, reason, found_by } in forgeries() {
        let offer = Offer::changed(*change);
        for (index, check) in found_by.iter().enumerate() {
            let others = [&found_by[..index], &found_by[index + 1..]].concat();
            let refused = offer.judge(&others).expect_err(&format!("{name}: {check:?}"));
            if index == 0 {
                assert_eq!(refused.to_string(), *reason, "{name}");
            }
        }
    }
}

#[test]
fn every_check_finds_a_forgery() {
    let mut all = vec![Check::Encoding, Check::Present, Check::Value];
    all.extend(OF_TEXT.map(|it| it.0));
    all.extend(OF_SEAL.map(|it| it.0));
    all.extend(OF_CLAIMS.map(|it| it.0));
    all.extend(OF_AGREEMENT.map(|it| it.0));
    let name = |it: &Check| format!("{it:?}");
    let all: BTreeSet<_> = all.iter().map(name).collect();
    let used: BTreeSet<_> = forgeries().map(|it| name(&it.found_by[0])).collect();
    assert_eq!(used, all);
}

#[test]
fn no_reason_shows_any_part_of_the_token() {
    for Row { name, change, .. } in forgeries() {
        let offer = Offer::changed(*change);
        let refused = offer.judge(&[]).unwrap_err();
        let shown = format!("{refused} {refused:?}");
        assert!(shown.len() < 1_000, "{name}: {shown}");
        let token = offer.token();
        for segment in token.split('.') {
            let mut parts = segment.as_bytes().windows(16.min(segment.len().max(1)));
            let found = parts.any(|it| shown.contains(std::str::from_utf8(it).unwrap()));
            assert!(!found, "{name}: {shown}");
        }
    }
}

#[test]
fn what_a_token_claims_is_shown_short_and_escaped() {
    let offer = Offer::changed(|it| {
        it.claims["iss"] = json!(format!("https://\u{1b}[31m\n{}", "x".repeat(500)));
    });
    let shown = offer.judge(&[]).unwrap_err().to_string();
    assert!(shown.len() < 200 && !shown.contains(char::is_control), "{shown}");
}

#[test]
fn genuine_tokens_of_two_issuers_are_accepted_across_a_key_rotation() {
    let cases: [(&str, Change); 12] = [
        ("the first key", |_| ()),
        ("the key after a rotation", |it| it.sign_by(Signer::Rotated)),
        ("another instance", |it| it.come_from_the_second_instance()),
        ("numbers as numbers", |it| {
            for name in ["project_id", "namespace_id", "user_id", "pipeline_id", "job_id"] {
                let number = it.claims[name].as_str().unwrap().parse::<u64>().unwrap();
                it.claims[name] = json!(number);
            }
            it.claims["ref_protected"] = json!(true);
        }),
        ("an audience in a list", |it| it.claims["aud"] = json!(["branchline"])),
        ("a version before 18.4", |it| {
            it.remove("job_project_id");
            it.remove("job_project_path");
        }),
        ("a fork's merge request, run by the project", |it| {
            it.claims["project_id"] = json!("99");
            it.claims["project_path"] = json!("fork/iris");
        }),
        ("optional claims that are null", |it| {
            it.claims["environment"] = json!(null);
            it.claims["ci_config_sha"] = json!(null);
        }),
        ("a tag", |it| it.claims["ref_type"] = json!("tag")),
        ("just expired", |it| it.publish_at(AT + 3_600 + 59)),
        ("a clock that is late", |it| it.publish_at(AT - 60)),
        ("a day's job", |it| it.claims["exp"] = json!(AT + 24 * 3_600)),
    ];
    for (name, change) in cases {
        assert_eq!(Offer::changed(change).judge(&[]).err(), None, "{name}");
    }
}

#[test]
fn everything_that_is_read_has_one_of_the_names_that_a_policy_may_be_tried_with() {
    let all = Offer::changed(|it| {
        for (name, value) in [("environment", "prod"), ("deployment_tier", "production")] {
            it.claims[name] = json!(value);
        }
        it.claims["environment_protected"] = json!("true");
        it.claims["environment_action"] = json!("start");
        it.claims[GROUPS] = json!(["ml", "ml/vision"]);
    });
    let claims = all.judge(&[]).unwrap();
    let groups = claims.groups_direct.as_ref().map(|_| GROUPS.to_owned());
    let written = claims.written();
    assert_eq!(
        (written["runner_id"].as_str(), written["ref_path"].as_str()),
        ("3", "refs/heads/topic")
    );
    let read: BTreeSet<String> = written.into_keys().chain(groups).collect();
    assert_eq!(read, NAMES.map(str::to_owned).into());
}

#[test]
fn claims_are_read_as_gitlab_writes_them() {
    let claims = Offer::changed(|_| ()).judge(&[]).unwrap();
    assert_eq!((claims.project_id, claims.job_id, claims.pipeline_id), (42, 70, 7));
    assert_eq!((claims.ref_protected, claims.is_of_a_fork()), (true, false));
    assert_eq!(claims.environment_protected, None);
    let second = Offer::changed(Offer::come_from_the_second_instance).judge(&[]).unwrap();
    assert_eq!(second.issuer, SECOND_ISSUER);
    let fork = Offer::changed(|it| it.claims["project_id"] = json!("99")).judge(&[]).unwrap();
    assert_eq!((fork.is_of_a_fork(), fork.job_project()), (true, (42, "ml/iris")));
}
