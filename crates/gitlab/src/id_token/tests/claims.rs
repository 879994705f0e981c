//! Forgeries of the claims: audience, time and types.

use serde_json::json;

use crate::id_token::Check::{
    Audience, CloudAudience, Expiry, IssuedAt, Job, Lifetime, NotBefore, Present, ProjectPath,
    Value,
};
use crate::id_token::tests::world::{AT, STS};
use crate::id_token::tests::{Row, row};

pub(super) const ROWS: &[Row] = &[
    row(
        "another audience",
        |it| it.claims["aud"] = json!("https://vault.example.com"),
        "the token's audience is \"https://vault.example.com\" and not \"branchline\"",
        &[Audience],
    ),
    row(
        "an audience in other letters",
        |it| it.claims["aud"] = json!("Branchline"),
        "the token's audience is \"Branchline\" and not \"branchline\"",
        &[Audience],
    ),
    row(
        "two audiences",
        |it| it.claims["aud"] = json!(["branchline", "vault"]),
        "the token's audience is \"branchline, vault\" and not \"branchline\"",
        &[Audience],
    ),
    row(
        "the same audience twice",
        |it| it.claims["aud"] = json!(["branchline", "branchline"]),
        "the token's audience is \"branchline, branchline\" and not \"branchline\"",
        &[Audience],
    ),
    row(
        "no audience in a list",
        |it| it.claims["aud"] = json!([]),
        "the token's audience is \"\" and not \"branchline\"",
        &[Audience],
    ),
    row(
        "more groups than there are",
        |it| it.claims["groups_direct"] = json!(vec!["ml"; 201]),
        "the token's groups_direct is not what its issuer writes there",
        &[Value],
    ),
    row("no audience", |it| it.remove("aud"), "the token has no aud", &[Present, Audience]),
    row(
        "an audience that is a number",
        |it| it.claims["aud"] = json!(1),
        "the token's aud is not what its issuer writes there",
        &[Value, Present, Audience],
    ),
    row(
        "the cloud's audience",
        |it| it.claims["aud"] = json!(STS),
        "the token's audience \"https://iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p\" is an identity provider of Google Cloud's; Branchline's token needs an audience of its own",
        &[CloudAudience, Audience],
    ),
    row(
        "the cloud's audience without a scheme",
        |it| it.claims["aud"] = json!("//iam.googleapis.com/projects/1"),
        "the token's audience \"//iam.googleapis.com/projects/1\" is an identity provider of Google Cloud's; Branchline's token needs an audience of its own",
        &[CloudAudience, Audience],
    ),
    row(
        "the cloud's audience beside ours",
        |it| it.claims["aud"] = json!(["branchline", "//iam.googleapis.com/p"]),
        "the token's audience \"//iam.googleapis.com/p\" is an identity provider of Google Cloud's; Branchline's token needs an audience of its own",
        &[CloudAudience, Audience],
    ),
    row(
        "the cloud's audience, and we expect it",
        |it| {
            it.claims["aud"] = json!(STS);
            it.audience = STS;
        },
        "the token's audience \"https://iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p\" is an identity provider of Google Cloud's; Branchline's token needs an audience of its own",
        &[CloudAudience],
    ),
    row(
        "expired when published",
        |it| it.publish_at(AT + 3_600 + 60),
        "the token expired at 2026-11-18T12:06:40Z, and it was sent at 2026-11-18T12:07:40Z",
        &[Expiry],
    ),
    row(
        "not yet valid",
        |it| it.claims["nbf"] = json!(AT + 61),
        "the token is valid from 2026-11-18T11:07:41Z, and it was sent at 2026-11-18T11:06:40Z",
        &[NotBefore],
    ),
    row(
        "issued after the message",
        |it| it.claims["iat"] = json!(AT + 61),
        "the token was issued at 2026-11-18T11:07:41Z, and it was sent at 2026-11-18T11:06:40Z",
        &[IssuedAt],
    ),
    row(
        "wholly from the future",
        |it| it.publish_at(AT - 120),
        "the token is valid from 2026-11-18T11:06:35Z, and it was sent at 2026-11-18T11:04:40Z",
        &[NotBefore, IssuedAt],
    ),
    row(
        "valid for longer than a day",
        |it| it.claims["exp"] = json!(AT + 24 * 3_600 + 1),
        "the token is valid for 86401 s; at most 86400 s are accepted",
        &[Lifetime],
    ),
    row(
        "over before it was issued",
        |it| {
            it.claims["iat"] = json!(AT + 50);
            it.claims["exp"] = json!(AT + 10);
        },
        "the token is valid for -40 s; at most 86400 s are accepted",
        &[Lifetime],
    ),
    row("no expiry", |it| it.remove("exp"), "the token has no exp", &[Present, Expiry, Lifetime]),
    row("no beginning", |it| it.remove("nbf"), "the token has no nbf", &[Present]),
    row("no time of issue", |it| it.remove("iat"), "the token has no iat", &[Present, Lifetime]),
    row(
        "an expiry that is a text",
        |it| it.claims["exp"] = json!("never"),
        "the token's exp is not what its issuer writes there",
        &[Value, Present, Expiry, Lifetime],
    ),
    row(
        "an expiry that is a fraction",
        |it| it.claims["exp"] = json!(1.5),
        "the token's exp is not what its issuer writes there",
        &[Value, Present, Expiry, Lifetime],
    ),
    row(
        "an expiry beyond all calendars",
        |it| it.claims["exp"] = json!(i64::MAX),
        "the token's exp is not what its issuer writes there",
        &[Value, Present, Expiry, Lifetime],
    ),
    row("no id of its own", |it| it.remove("jti"), "the token has no jti", &[Present]),
    row(
        "an empty id of its own",
        |it| it.claims["jti"] = json!(""),
        "the token has no jti",
        &[Present],
    ),
    row(
        "an endless id of its own",
        |it| it.claims["jti"] = json!("x".repeat(129)),
        "the token's jti is not what its issuer writes there",
        &[Value, Present],
    ),
    row("no subject", |it| it.remove("sub"), "the token has no sub", &[Present]),
    row("no user", |it| it.remove("user_login"), "the token has no user_login", &[Present]),
    row(
        "an endless user",
        |it| it.claims["user_login"] = json!("x".repeat(1_025)),
        "the token's user_login is not what its issuer writes there",
        &[Value, Present],
    ),
    row(
        "a user with a line break",
        |it| it.claims["user_login"] = json!("ada\nroot"),
        "the token's user_login is not what its issuer writes there",
        &[Value, Present],
    ),
    row(
        "an id that is no number",
        |it| it.claims["job_id"] = json!("70x"),
        "the token's job_id is not what its issuer writes there",
        &[Value, Present, Job],
    ),
    row(
        "a negative id",
        |it| it.claims["job_id"] = json!(-70),
        "the token's job_id is not what its issuer writes there",
        &[Value, Present, Job],
    ),
    row(
        "an id with a sign",
        |it| it.claims["job_id"] = json!("+70"),
        "the token's job_id is not what its issuer writes there",
        &[Value, Present, Job],
    ),
    row(
        "an id in a list",
        |it| it.claims["job_id"] = json!(["70"]),
        "the token's job_id is not what its issuer writes there",
        &[Value, Present, Job],
    ),
    row(
        "a doubtful protection",
        |it| it.claims["ref_protected"] = json!("yes"),
        "the token's ref_protected is not what its issuer writes there",
        &[Value, Present],
    ),
    row(
        "a ref that is neither branch nor tag",
        |it| it.claims["ref_type"] = json!("commit"),
        "the token's ref_type is not what its issuer writes there",
        &[Value, Present],
    ),
    row(
        "an environment that is an object",
        |it| it.claims["environment"] = json!({}),
        "the token's environment is not what its issuer writes there",
        &[Value],
    ),
    row(
        "a project of the job without a path",
        |it| it.remove("job_project_path"),
        "the token has no job_project_path",
        &[Present, ProjectPath],
    ),
];
