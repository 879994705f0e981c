//! Files with one mistake, with many, and with none.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::num::NonZeroU32;

use super::*;
use crate::Period;
use branchline_contract::{GitlabHost, Installation, Region};
use expect_test::{Expect, expect};
use serde::Deserialize;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "what matters is that they are read")]
struct Config {
    subscription: String,
    consume: Consume,
    regions: BTreeSet<Region>,
    identity: Identity,
    #[serde(default)]
    installation: Option<Installation>,
    #[serde(default)]
    operators: Option<Roster>,
    #[serde(default = "lease")]
    lease: Period,
    #[serde(default)]
    listen: Option<SocketAddr>,
    #[serde(default)]
    google: branchline_gcp::Config,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Consume {
    in_flight_max: NonZeroU32,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Identity {
    issuers: Vec<Issuer>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Issuer {
    issuer: String,
    #[serde(default)]
    jwks_file: Option<PathBuf>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "so here")]
struct Roster {
    members: BTreeMap<String, BTreeMap<GitlabHost, u64>>,
    audiences: Vec<String>,
}

fn lease() -> Period {
    Period::secs(15)
}

const GOOD: &str = "\
subscription: s
consume: {in_flight_max: 3}
regions: [europe-west4, us-central1]
identity:
  issuers:
  - issuer: https://gitlab.com
    jwks_file: keys.json
  - issuer: https://gitlab.example.com
operators:
  members: {ada@example.com: {gitlab.com: 574}}
  audiences: [branchline]
";

/// What is said of a text, a line each, and what can be made of it.
fn drafted(text: &str) -> (Option<Draft<Config>>, String) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("worker.yaml");
    std::fs::write(&path, text).unwrap();
    let root = format!("{}/", directory.path().display());
    let (draft, errors) = draft(&path);
    let sentences: Vec<_> = errors.iter().map(|it| it.to_string().replace(&root, "")).collect();
    assert_eq!(load::<Config>(&path).is_ok(), errors.is_empty(), "{text}");
    (draft, sentences.join("\n"))
}

#[track_caller]
fn check(text: &str, expected: &Expect) {
    expected.assert_eq(&drafted(text).1);
}

#[test]
fn a_valid_file_is_read() {
    let (draft, said) = drafted(GOOD);
    let config = draft.unwrap().config;
    assert_eq!((said.as_str(), config.consume.in_flight_max.get()), ("", 3));
    assert_eq!(config.identity.issuers[0].jwks_file, Some("keys.json".into()));
    assert_eq!(config.identity.issuers[1].issuer, "https://gitlab.example.com");
    assert_eq!(config.operators.unwrap().audiences, ["branchline"]);
}

#[test]
fn everything_that_is_wrong_is_told_at_once_with_field_and_rule_and_nothing_else() {
    check(
        "\
subscripton: s
consume: {in_flight: 3, in_flight_max: 0}
regions: [europe-west4, nowhere, 7, us-central1, Mars]
identity:
  issuers:
  - issuer: [a]
    jwks: keys.json
  - jwks_file: {}
  - gitlab.com
  - issuer: https://gitlab.com
    x: 1
installation: UPPER
operators:
  members: {ada@example.com: {gitlab.com: x, https://gitlab.com: 1}}
lease: 60
listen: 8080
google: {credentials: key, pubsub_endpont: http://localhost}
",
        &expect![[r#"
            worker.yaml: subscripton: unknown field `subscripton`, expected one of `subscription`, `consume`, `regions`, `identity`, `installation`, `operators`, `lease`, `listen`, `google` at line 1
            worker.yaml: consume.in_flight: unknown field `in_flight`, expected `in_flight_max` at line 2
            worker.yaml: consume.in_flight_max: invalid value: integer `0`, expected a nonzero u32 at line 2
            worker.yaml: regions[1]: "nowhere" is not a Vertex AI region such as europe-west4 at line 3
            worker.yaml: regions[2]: invalid type: integer `7`, expected a string at line 3
            worker.yaml: regions[4]: "Mars" is not a Vertex AI region such as europe-west4 at line 3
            worker.yaml: identity.issuers[0].issuer: invalid type: sequence, expected a string at line 6
            worker.yaml: identity.issuers[0].jwks: unknown field `jwks`, expected `issuer` or `jwks_file` at line 7
            worker.yaml: identity.issuers[1].jwks_file: invalid type: map, expected path string at line 8
            worker.yaml: identity.issuers[1]: missing field `issuer` at line 8
            worker.yaml: identity.issuers[2]: invalid type: string "gitlab.com", expected struct Issuer at line 9
            worker.yaml: identity.issuers[3].x: unknown field `x`, expected `issuer` or `jwks_file` at line 11
            worker.yaml: installation: "UPPER" is not an installation's name (a lower-case letter, then letters, digits or -; at most 63) at line 12
            worker.yaml: operators.members.ada@example.com.gitlab.com: invalid type: string "x", expected u64 at line 14
            worker.yaml: operators.members.ada@example.com.https://gitlab.com: "https://gitlab.com" is not a host name, with or without a port at line 14
            worker.yaml: operators: missing field `audiences` at line 13
            worker.yaml: lease: invalid type: integer `60`, expected a time with its unit, such as 500ms, 15s or 72h at line 15
            worker.yaml: listen: invalid type: integer `8080`, expected socket address at line 16
            worker.yaml: google.credentials: unknown variant `key`, expected `application_default` or `anonymous` at line 17
            worker.yaml: google.pubsub_endpont: unknown field `pubsub_endpont`, expected one of `credentials`, `allow_key_files`, `pubsub_endpoint`, `storage_endpoint`, `vertex_endpoint`, `logging_endpoint`, `metadata_endpoint`, `iam_endpoint` at line 17
            worker.yaml: missing field `subscription`"#]],
    );
}

#[test]
fn one_mistake_is_one_sentence() {
    let with = |from: &str, to: &str| GOOD.replace(from, to);
    let cases = [
        with("in_flight_max: 3", "in_flight_max: many"),
        with("in_flight_max: 3", ""),
        with("{in_flight_max: 3}", "7"),
        with("consume: {in_flight_max: 3}\n", ""),
        with("europe-west4", "nowhere"),
        with("  - issuer: https://gitlab.com\n    jwks_file", "  - jwks_file"),
        with("  audiences: [branchline]\n", ""),
        with("subscription", "\"sub\\nscription\""),
        with("subscription: s", "subscription: 7"),
        format!("{GOOD}subscription: t\n"),
        "subscription: [".to_owned(),
    ];
    let said: Vec<_> = cases.iter().map(|it| drafted(it).1).collect();
    expect![[r#"
        worker.yaml: consume.in_flight_max: invalid type: string "many", expected a nonzero u32 at line 2
        worker.yaml: consume: missing field `in_flight_max` at line 2
        worker.yaml: consume: invalid type: integer `7`, expected struct Consume at line 2
        worker.yaml: missing field `consume`
        worker.yaml: regions[0]: "nowhere" is not a Vertex AI region such as europe-west4 at line 3
        worker.yaml: identity.issuers[0]: missing field `issuer` at line 6
        worker.yaml: operators: missing field `audiences` at line 9
        worker.yaml: sub scription: unknown field `sub scription`, expected one of `subscription`, `consume`, `regions`, `identity`, `installation`, `operators`, `lease`, `listen`, `google` at line 1
        worker.yaml: missing field `subscription`
        worker.yaml: subscription: invalid type: integer `7`, expected a string at line 1
        worker.yaml: duplicate mapping key `subscription` is not allowed here at line 12, column 1
        worker.yaml: unclosed bracket '[' at line 1, column 15"#]].assert_eq(&said.join("\n"));
}

#[test]
fn an_empty_file_lacks_everything_and_a_text_is_no_configuration() {
    check(
        "",
        &expect![[r"
        worker.yaml: missing field `subscription`
        worker.yaml: missing field `consume`
        worker.yaml: missing field `regions`
        worker.yaml: missing field `identity`"]],
    );
    check(
        "# nothing\n",
        &expect![[r"
        worker.yaml: missing field `subscription`
        worker.yaml: missing field `consume`
        worker.yaml: missing field `regions`
        worker.yaml: missing field `identity`"]],
    );
    check(
        "subscription",
        &expect![[r#"worker.yaml: invalid type: string "subscription", expected struct Config"#]],
    );
    check(
        "[a, b]",
        &expect![[r#"
        worker.yaml: [1]: invalid type: string "b", expected struct Consume at line 1"#]],
    );
}

#[test]
fn what_can_be_believed_of_a_wrong_file_is_what_stands_in_it_and_is_not_wrong() {
    let text =
        GOOD.replace("[europe-west4, us-central1]", "[mars]").replace("subscription: s\n", "");
    let draft = drafted(&text).0.unwrap();
    let sure = |draft: &Draft<Config>, keys: &[&str]| {
        keys.iter().map(|it| draft.is_sure(it)).collect::<Vec<_>>()
    };
    let keys = ["regions", "subscription", "identity", "consume", "lease"];
    assert_eq!(sure(&draft, &keys), [false, false, true, true, true]);
    assert_eq!((draft.config.subscription.as_str(), draft.config.regions.len()), ("", 0));
    // It may be the lease that is misspelt.
    let draft = drafted(&format!("{GOOD}leese: 60s\n")).0.unwrap();
    assert_eq!(sure(&draft, &keys), [true, true, true, true, false]);
    let draft = drafted(&format!("{GOOD}verbose: true\n")).0.unwrap();
    assert_eq!(sure(&draft, &keys), [true; 5]);
    // A key that is not known in a section says nothing of others.
    let draft = drafted(&GOOD.replace("    jwks_file", "    jwks")).0.unwrap();
    assert_eq!(sure(&draft, &keys), [true, true, false, true, true]);
    assert!(drafted("subscription: [").0.is_none());
}

#[test]
fn however_much_is_wrong_there_is_an_end() {
    let many: Vec<_> = (0..200).map(|it| format!("key{it}: 1\n")).collect();
    let many = many.concat();
    assert_eq!(drafted(&many).1.lines().count(), ERRORS_MAX);
    let long = drafted(&format!("{GOOD}{}: 1\n", "x".repeat(9_000))).1;
    assert!(long.len() < 3_000, "{} bytes", long.len());
}

#[test]
fn a_missing_or_oversized_file_is_named() {
    let missing = load::<Config>(Path::new("missing.yaml")).unwrap_err().to_string();
    assert!(missing.starts_with("missing.yaml: the configuration cannot be read: "), "{missing}");
    let (_, oversized) = drafted(&"#".repeat(1 << 21));
    assert_eq!(oversized, "worker.yaml: a configuration has at most 1048576 bytes");
}
