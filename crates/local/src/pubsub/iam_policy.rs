//! Policies of topics and subscriptions: the doors' way to what [`crate::iam`] keeps.

use axum::Router;
use axum::extract::{Path, Request};
use axum::routing::post;
use serde_json::{Value, json};
use tonic::Status;

use super::PubSub;
use crate::iam::{Caller, PolicyCall, Refusal, Resource, grpc, policy_call};

/// What a request asks of a policy, if it is one of those: `projects/P/topics/T:getIamPolicy`.
pub(super) fn asked(path: &str, body: &[u8]) -> Option<(Resource, PolicyCall)> {
    let (name, verb) = path.rsplit_once(':')?;
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    Some((resource(name)?, policy_call(verb, &body)?))
}

/// `google.iam.v1.IAMPolicy`, over gRPC.
pub(super) fn router(pubsub: &PubSub) -> Router {
    let pubsub = pubsub.clone();
    let answer = move |Path(method): Path<String>, request: Request| async move {
        let caller = request.extensions().get::<Caller>().cloned();
        let decide = move |name: &str, call| {
            let on = resource(name).ok_or_else(|| Status::invalid_argument("Invalid resource."))?;
            answer(&pubsub, caller.as_ref(), &on, call).map_err(|refusal| refusal.status())
        };
        grpc::serve(&method, request, decide).await
    };
    Router::new().route("/google.iam.v1.IAMPolicy/{method}", post(answer))
}

fn resource(name: &str) -> Option<Resource> {
    let parts: Vec<&str> = name.split('/').collect();
    match parts[..] {
        ["projects", _, "topics", _] => Some(Resource::Topic(name.to_owned())),
        ["projects", _, "subscriptions", _] => Some(Resource::Subscription(name.to_owned())),
        _ => None,
    }
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
