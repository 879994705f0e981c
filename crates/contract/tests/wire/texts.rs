//! Which texts each type takes: by its parser and, with the same verdict, by its schema.

use branchline_contract::{
    ArtifactName, CloudProject, CommitSha, Crc32c, GitlabHost, LedgerHead, ObjectUri, ProjectPath,
    RefName, Region, RunId, RunName, Sha256, schemas,
};
use serde_json::{Value, json};

#[track_caller]
fn check<T: TryFrom<String>>(name: &str, accepted: &[&str], refused: &[&str]) {
    let mut definitions = serde_json::Map::new();
    for (_, schema) in schemas() {
        definitions.extend(schema["$defs"].as_object().unwrap().clone());
    }
    let schema = json!({"$ref": format!("#/$defs/{name}"), "$defs": definitions});
    let schema = jsonschema::draft202012::new(&schema).unwrap();
    let cases = accepted.iter().map(|it| (it, true)).chain(refused.iter().map(|it| (it, false)));
    for (text, expected) in cases {
        assert_eq!(T::try_from((*text).to_owned()).is_ok(), expected, "{name} of {text:?}");
        let valid = schema.is_valid(&Value::from(*text));
        assert_eq!(valid, expected, "schema of {name} and {text:?}");
    }
}

#[test]
fn a_ledger_head_is_a_position_and_a_hash() {
    let hash = Sha256::of(b"");
    let head: LedgerHead = format!("6:{hash}").parse().unwrap();
    assert_eq!(head, LedgerHead { sequence: 6, sha256: hash });
    assert_eq!(head.to_string(), format!("6:{hash}"));
    for wrong in ["", "6", "6:", ":ab", &format!("-1:{hash}"), &format!("6:{hash}0")] {
        assert!(wrong.parse::<LedgerHead>().is_err(), "{wrong}");
    }
}

#[test]
fn names_are_words_of_limited_length() {
    let (longest, too_long) = (&"a".repeat(40), &"a".repeat(41));
    check::<RunName>(
        "RunName",
        &["train", "a", "train-2", longest],
        &["", "Train", "2train", "-a", "a-", "a_b", "a b", "a\n", "ä", too_long],
    );
    let (longest, too_long) = (&"a".repeat(63), &"a".repeat(64));
    check::<ArtifactName>(
        "ArtifactName",
        &["data", "data_set-2", "data-", longest],
        &["", "Data", "2", "_data", "da.ta", "data\n", too_long],
    );
}

#[test]
fn a_run_id_is_a_run_name_and_twenty_digits() {
    let (digits, name) = ("0123456789abcdef0123", "a".repeat(40));
    check::<RunId>(
        "RunId",
        &[&format!("train-{digits}"), &format!("{name}-{digits}"), &format!("a-{digits}-{digits}")],
        &[
            "train",
            digits,
            &format!("train--{digits}"),
            &format!("train-{digits}0"),
            &format!("train-{}", digits.to_uppercase()),
            &format!("{name}a-{digits}"),
        ],
    );
}

#[test]
fn an_object_uri_has_a_bucket_and_an_object() {
    let (longest, too_long) = (format!("gs://abc/{}", "o".repeat(1024)), "o".repeat(1025));
    check::<ObjectUri>(
        "ObjectUri",
        &["gs://abc/o", "gs://a.b-c_1/dir/o p?q#r", "gs://abc//", "gs://abc/ä", &longest],
        &[
            "",
            "gs://",
            "gs://ab/o",
            "gs://abc",
            "gs://abc/",
            "gs://Abc/o",
            "gs://abc/o\n",
            "gs://abc/\u{85}",
            "s3://abc/o",
            " gs://abc/o",
            &format!("gs://abc/{too_long}"),
            &format!("gs://{}/o", "b".repeat(223)),
        ],
    );
    let uri = ObjectUri::new("abc", "dir/o").unwrap();
    assert_eq!((uri.bucket(), uri.object()), ("abc", "dir/o"));
}

#[test]
fn an_origin_holds_what_gitlab_calls_so() {
    check::<GitlabHost>(
        "GitlabHost",
        &["gitlab.com", "127.0.0.1:8080", "Git-Lab"],
        &["", ".com", "a:", "a:b", "a:1:2", "a:123456", "me@a", "https://a", "a/b", "a b", "a\n"],
    );
    check::<ProjectPath>(
        "ProjectPath",
        &["a/b", "Group/sub.group/my_pro-ject", "a/.github", "_a/b"],
        &["", "a", "/a", "a/", "a//b", "a/../b", "../a", "a/b.", "a/b c", "a/b\n", "-a/b"],
    );
    let (sha1, sha256) = (&"0a".repeat(20), &"0a".repeat(32));
    check::<CommitSha>(
        "CommitSha",
        &[sha1, sha256],
        &["", "main", &sha1[1..], &format!("{sha1}00"), &sha1.to_uppercase()],
    );
    let (longest, too_long) = (&"r".repeat(255), &"r".repeat(256));
    check::<RefName>(
        "RefName",
        &["main", "feature/a-b_c.d", "v1.0", "ä", "refs/merge-requests/1/head", longest],
        &["", "-a", "a b", "a~1", "~a", "a^", "^a", "a:b", ":", "a?", "*", "[a", "a\\b", "a\n"],
    );
    check::<RefName>("RefName", &[], &["\u{7f}", "a\u{9f}", too_long]);
}

#[test]
fn a_place_in_google_cloud_is_a_project_and_a_region() {
    check::<CloudProject>(
        "CloudProject",
        &["acme-training", "example.com:acme", "123456789012"],
        &["", "Acme", "-a", "a/b", "a b", "a\n", &"a".repeat(65)],
    );
    check::<Region>(
        "Region",
        &["europe-west4", "us-central1", "northamerica-northeast1", "a-1"],
        &["", "europe", "europe-west", "europe4", "-west4", "Europe-west4", "europe-west4\n"],
    );
}

#[test]
fn checksums_are_written_as_cloud_storage_and_sha256sum_write_them() {
    check::<Crc32c>(
        "Crc32c",
        &["AAAAAA==", "2tg2vA==", "/////w=="],
        &["", "AAAAAA", "AAAAAA=", "AAAAAB==", "AAAAAAAA", "-----w==", "AAAAAA==\n"],
    );
    let digest = &"0a".repeat(32);
    check::<Sha256>(
        "Sha256",
        &[digest],
        &["", &digest[1..], &digest.to_uppercase(), &format!("{digest}\n"), &"0g".repeat(32)],
    );
    assert_eq!(Crc32c(0xdad8_36bc).to_string(), "2tg2vA==");
    let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    assert_eq!(Sha256::of(b"").to_string(), empty);
}

#[test]
fn a_refused_text_is_told_with_its_rule_and_not_at_length() {
    let error = Region::parse("Europe").unwrap_err();
    assert_eq!(error.to_string(), r#""Europe" is not a Vertex AI region such as europe-west4"#);
    let error = RunName::parse("X".repeat(1 << 20)).unwrap_err();
    assert!(error.to_string().len() < 200);
}
