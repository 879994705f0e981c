//! CI jobs that prove who they are: tokens signed with the embedded GitLab's key, for jobs that
//! were never started there as well.

use branchline_local::gitlab::Signer;
use jiff::Timestamp;
use serde_json::{Value, json};

/// Audience of the tokens, as the worker expects it by default.
pub const AUDIENCE: &str = "branchline";
/// A policy for tests of other things.
pub const ANYBODY: &str = "rules: [{name: anybody}]";

/// The claims of the CI job that a request names, as GitLab writes them.
pub fn claims(request: &Value, token_id: &str, now: Timestamp) -> Value {
    let origin = &request["gitlab"];
    let (path, git_ref) = (&origin["project_path"], &origin["ref"]);
    let text = |it: &Value| it.as_str().map_or_else(|| it.to_string(), str::to_owned);
    let (path, git_ref) = (text(path), text(git_ref));
    let namespace = path.rsplit_once('/').map_or("", |(namespace, _)| namespace);
    json!({
        "iss": format!("http://{}", text(&origin["host"])),
        "sub": format!("project_path:{path}:ref_type:branch:ref:{git_ref}"),
        "aud": AUDIENCE,
        "jti": token_id,
        "iat": now.as_second(),
        "nbf": now.as_second() - 5,
        "exp": now.as_second() + 3_600,
        "project_id": text(&origin["project_id"]),
        "project_path": path,
        "namespace_id": "1",
        "namespace_path": namespace,
        "user_id": "7",
        "user_login": "anna",
        "user_email": "anna@example.com",
        "sha": origin["sha"],
        "ref": git_ref,
        "ref_type": "branch",
        "ref_protected": "false",
        "pipeline_id": text(&origin["pipeline_id"]),
        "pipeline_source": "push",
        "job_id": text(&origin["job_id"]),
    })
}

/// The request with the token of its CI job; each has a token of its own.
pub fn signed(signer: &Signer, mut request: Value) -> Value {
    let token_id = format!("{:032x}", fastrand::u128(..));
    let token = signer.sign(&claims(&request, &token_id, Timestamp::now()));
    request["id_token"] = token.expect("the key signs").into();
    request
}
