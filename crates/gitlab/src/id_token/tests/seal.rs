//! Forgeries of the seal: size, segments, header, issuer, key and signature.

use serde_json::json;

use crate::id_token::Check::{
    self, Algorithm, Audience, Critical, Duplicate, Encoding, Expiry, Host, Issuer, Job, Key,
    KeyId, Pipeline, Present, Project, ProjectPath, Ref, Segments, Sha, Signature, Size,
};
use crate::id_token::tests::world::{PS256, RS512, Seal, Signer, flip, flip_bit};
use crate::id_token::tests::{Row, row};

/// All that nothing at all breaks.
const NOTHING_CLAIMED: &[Check] = &[
    Encoding,
    Issuer,
    Key,
    Signature,
    Present,
    Audience,
    Expiry,
    Host,
    Project,
    ProjectPath,
    Sha,
    Ref,
    Pipeline,
    Job,
];

pub(super) const ROWS: &[Row] = &[
    row(
        "oversized",
        |it| it.claims["pad"] = json!("x".repeat(17 << 10)),
        "the token is larger than 16384 bytes",
        &[Size],
    ),
    row(
        "four segments",
        |it| it.tamper = |it| format!("{it}.e30"),
        "the token does not have three segments",
        &[Segments],
    ),
    row(
        "no signature segment",
        |it| it.tamper = |it| it.rsplit_once('.').unwrap().0.to_owned(),
        "the token does not have three segments",
        &[Segments, Signature],
    ),
    row(
        "a header that is no base64",
        |it| it.tamper = |it| format!("%{it}"),
        "the token's header cannot be read",
        &[Encoding, Algorithm, KeyId, Key, Signature],
    ),
    row(
        "a header that is padded",
        |it| it.tamper = |it| it.replacen('.', "=.", 1),
        "the token's header cannot be read",
        &[Encoding, Algorithm, KeyId, Key, Signature],
    ),
    row(
        "claims that are a list",
        |it| it.rewrite = |[header, _]| [header, "[]".to_owned()],
        "the token's claims cannot be read",
        NOTHING_CLAIMED,
    ),
    row(
        "text behind the claims",
        |it| it.rewrite = |[header, claims]| [header, format!("{claims}x")],
        "the token's claims cannot be read",
        NOTHING_CLAIMED,
    ),
    row(
        "a claim said twice",
        |it| {
            it.rewrite =
                |[header, claims]| [header, claims.replacen('{', r#"{"project_id":"1","#, 1)];
        },
        "the token says \"project_id\" twice",
        &[Duplicate],
    ),
    row(
        "an algorithm said twice",
        |it| it.rewrite = |[header, claims]| [header.replacen('{', r#"{"alg":"none","#, 1), claims],
        "the token says \"alg\" twice",
        &[Duplicate],
    ),
    row(
        "no signature, and the algorithm none",
        |it| {
            it.header["alg"] = json!("none");
            it.seal = Seal::None;
        },
        "the token is signed by \"none\" and not by RS256",
        &[Algorithm, Signature],
    ),
    row(
        "no signature, and the algorithm nOnE",
        |it| {
            it.header["alg"] = json!("nOnE");
            it.seal = Seal::None;
        },
        "the token is signed by \"nOnE\" and not by RS256",
        &[Algorithm, Signature],
    ),
    row(
        "HS256 with the public key as its secret",
        |it| {
            it.header["alg"] = json!("HS256");
            it.seal = Seal::Hmac;
        },
        "the token is signed by \"HS256\" and not by RS256",
        &[Algorithm, Signature],
    ),
    row(
        "the secret's signature under the name of RS256",
        |it| it.seal = Seal::Hmac,
        "the token's signature does not fit it",
        &[Signature],
    ),
    row(
        "PS256",
        |it| {
            it.header["alg"] = json!("PS256");
            it.seal = PS256;
        },
        "the token is signed by \"PS256\" and not by RS256",
        &[Algorithm, Signature],
    ),
    row(
        "RS512",
        |it| {
            it.header["alg"] = json!("RS512");
            it.seal = RS512;
        },
        "the token is signed by \"RS512\" and not by RS256",
        &[Algorithm, Signature],
    ),
    row(
        "another algorithm's name",
        |it| it.header["alg"] = json!("RS384"),
        "the token is signed by \"RS384\" and not by RS256",
        &[Algorithm],
    ),
    row(
        "no algorithm",
        |it| it.header["alg"] = json!(null),
        "the token is signed by \"\" and not by RS256",
        &[Algorithm],
    ),
    row(
        "a header that demands an extension",
        |it| it.header["crit"] = json!(["exp"]),
        "the token's header demands an extension (crit)",
        &[Critical],
    ),
    row(
        "no key id",
        |it| it.header["kid"] = json!(null),
        "the token does not name its signing key (kid)",
        &[KeyId, Key, Signature],
    ),
    row(
        "a key id that is a number",
        |it| it.header["kid"] = json!(1),
        "the token does not name its signing key (kid)",
        &[KeyId, Key, Signature],
    ),
    row(
        "another issuer",
        |it| it.claims["iss"] = json!("https://gitlab.example.org"),
        "the token's issuer \"https://gitlab.example.org\" is not one of the configured ones",
        &[Issuer, Key, Signature, Host],
    ),
    row(
        "an issuer with a slash",
        |it| it.claims["iss"] = json!("https://gitlab.example.com/"),
        "the token's issuer \"https://gitlab.example.com/\" is not one of the configured ones",
        &[Issuer, Key, Signature],
    ),
    row(
        "an issuer in other letters",
        |it| it.claims["iss"] = json!("https://GitLab.example.com"),
        "the token's issuer \"https://GitLab.example.com\" is not one of the configured ones",
        &[Issuer, Key, Signature, Host],
    ),
    row(
        "no issuer",
        |it| it.remove("iss"),
        "the token's issuer \"\" is not one of the configured ones",
        &[Issuer, Key, Signature, Present, Host],
    ),
    row(
        "a stranger's key",
        |it| it.sign_by(Signer::Stranger),
        "https://gitlab.example.com has no signing key \"Stranger\"",
        &[Key, Signature],
    ),
    row(
        "the key of another trusted issuer",
        |it| it.sign_by(Signer::SecondInstance),
        "https://gitlab.example.com has no signing key \"SecondInstance\"",
        &[Key, Signature],
    ),
    row(
        "a stranger's signature under a good key's name",
        |it| it.signer = Signer::Stranger,
        "the token's signature does not fit it",
        &[Signature],
    ),
    row(
        "another key of the same issuer",
        |it| it.signer = Signer::Rotated,
        "the token's signature does not fit it",
        &[Signature],
    ),
    row(
        "a key that comes with the token",
        |it| {
            it.signer = Signer::Stranger;
            it.header["jwk"] = Signer::Stranger.public();
        },
        "the token's signature does not fit it",
        &[Signature],
    ),
    row(
        "a key that the token says where to get",
        |it| {
            it.signer = Signer::Stranger;
            it.header["jku"] = json!("https://stranger.example/keys");
        },
        "the token's signature does not fit it",
        &[Signature],
    ),
    row(
        "one bit of the header",
        |it| it.tamper = |it| flip(&it, 0, "JWT", "JWU"),
        "the token's signature does not fit it",
        &[Signature],
    ),
    row(
        "one bit of the claims",
        |it| it.tamper = |it| flip(&it, 1, "ada", "ade"),
        "the token's signature does not fit it",
        &[Signature],
    ),
    row(
        "one bit of the signature",
        |it| it.tamper = |it| flip_bit(&it),
        "the token's signature does not fit it",
        &[Signature],
    ),
    row(
        "a signature that is cut",
        |it| it.tamper = |it| it[..it.len() - 8].to_owned(),
        "the token's signature does not fit it",
        &[Signature],
    ),
    row(
        "an empty signature",
        |it| it.seal = Seal::None,
        "the token's signature does not fit it",
        &[Signature],
    ),
    row(
        "a signature that is padded",
        |it| it.tamper = |it| format!("{it}=="),
        "the token's signature does not fit it",
        &[Signature],
    ),
];
