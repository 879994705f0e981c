//! IAM's credentials API: tokens of service accounts, for whoever may have them.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State as Shared};
use axum::http::HeaderMap;
use serde_json::{Value, json};

use super::Iam;
use super::api::{Answer, json_of, policy_call, verb};
use super::principal::Principal;
use super::refusal::Refusal;
use super::resource::Resource;

const API: &str = "iamcredentials.googleapis.com";
/// The longest that a token lasts.
const LIFETIME_MAX_SECS: i64 = 3_600;

/// `POST /v1/projects/P/serviceAccounts/E:VERB`, of IAM and of its credentials API.
pub(super) async fn act(
    Shared(iam): Shared<Iam>,
    Path((_, account)): Path<(String, String)>,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    let (email, verb) = verb(&account);
    let (on, body) = (Resource::account(email), json_of(&body)?);
    if let Some(call) = policy_call(verb, &body) {
        return iam.caller(&headers)?.known()?.policy(&on, call).map(Json);
    }
    let permission = match verb {
        "generateAccessToken" => "iam.serviceAccounts.getAccessToken",
        "generateIdToken" => "iam.serviceAccounts.getOpenIdToken",
        _ => return Err(Refusal::NotFound("Method not found.".to_owned())),
    };
    // Whoever is not known gets nobody's token, whether or not the services ask.
    let caller = iam.strict_caller(&headers)?;
    caller.check_enabled(API, &on)?;
    caller.check(permission, &on)?;
    if !iam.lock().accounts.contains_key(email) {
        let message = format!("Not found; Gaia id not found for email {email}");
        return Err(Refusal::NotFound(message));
    }
    match verb {
        "generateIdToken" => id_token(&iam, email, &body).map(Json),
        _ => access_token(&iam, email, &body).map(Json),
    }
}

fn access_token(iam: &Iam, email: &str, body: &Value) -> Result<Value, Refusal> {
    let invalid = || Refusal::Invalid("Request contains an invalid argument.".to_owned());
    if body["scope"].as_array().is_none_or(Vec::is_empty) {
        return Err(invalid());
    }
    let lifetime = match body["lifetime"].as_str() {
        None => LIFETIME_MAX_SECS,
        Some(text) => {
            let seconds = text.strip_suffix('s').and_then(|it| it.parse().ok());
            seconds.filter(|it| (1..=LIFETIME_MAX_SECS).contains(it)).ok_or_else(invalid)?
        }
    };
    let (token, expires) = iam.lock().issue(Principal::Account(email.to_owned()), lifetime);
    Ok(json!({"accessToken": token, "expireTime": expires}))
}

fn id_token(iam: &Iam, email: &str, body: &Value) -> Result<Value, Refusal> {
    let invalid = || Refusal::Invalid("Request contains an invalid argument.".to_owned());
    let audience = body["audience"].as_str().filter(|it| !it.is_empty()).ok_or_else(invalid)?;
    let named = body["includeEmail"] == true;
    let token = iam.account_id_token(email, audience, named);
    Ok(json!({"token": token.map_err(|_| invalid())?}))
}
