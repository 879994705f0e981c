//! Policies of topics and subscriptions: the REST API's way to what [`crate::iam`] keeps.

use serde_json::{Value, json};

use super::PubSub;
use crate::iam::{Caller, PolicyCall, Refusal, Resource, policy_call};

/// What a request asks of a policy, if it is one of those: `projects/P/topics/T:getIamPolicy`.
pub(super) fn asked(path: &str, body: &[u8]) -> Option<(Resource, PolicyCall)> {
    let (name, verb) = path.rsplit_once(':')?;
    let parts: Vec<&str> = name.split('/').collect();
    let on = match parts[..] {
        ["projects", _, "topics", _] => Resource::Topic(name.to_owned()),
        ["projects", _, "subscriptions", _] => Resource::Subscription(name.to_owned()),
        _ => return None,
    };
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    Some((on, policy_call(verb, &body)?))
}

/// Whoever may not see a policy is not told whether its resource is there, and nobody holds
/// anything on one that is not.
pub(super) fn answer(
    pubsub: &PubSub,
    caller: Option<&Caller>,
    on: &Resource,
    call: PolicyCall,
) -> Result<Value, Refusal> {
    let invalid = || Refusal::Invalid("This service runs without IAM.".to_owned());
    let caller = caller.ok_or_else(invalid)?;
    let exists = match on {
        Resource::Topic(name) => pubsub.call(|core, _| core.get_topic(name)).map(drop),
        Resource::Subscription(name) => {
            pubsub.call(|core, _| core.get_subscription(name)).map(drop)
        }
        _ => return Err(invalid()),
    };
    let Err(error) = exists else { return caller.policy(on, call) };
    match call {
        PolicyCall::Test(_) => Ok(json!({})),
        PolicyCall::Get | PolicyCall::Set(_) => {
            caller.policy(on, PolicyCall::Get)?;
            Err(Refusal::NotFound(error.to_string()))
        }
    }
}
