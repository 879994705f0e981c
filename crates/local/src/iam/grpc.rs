//! Policies over gRPC: `google.iam.v1`, as Pub/Sub and Cloud Storage serve it.

use axum::extract::Request;
use axum::response::{IntoResponse as _, Response};
use googleapis_tonic_google_iam_v1::google::iam::v1 as wire;
use prost::Message;
use serde_json::{Value, json};
use tonic::Status;
use tonic_prost::ProstCodec;
use tower::service_fn;

use super::caller::PolicyCall;
use super::policy::{Binding, Condition};

/// Whether a method is one of these.
pub(crate) fn is_policy_method(method: &str) -> bool {
    matches!(method, "GetIamPolicy" | "SetIamPolicy" | "TestIamPermissions")
}

/// Answers one of these methods with what a service decides about a resource's name.
pub(crate) async fn serve(
    method: &str,
    request: Request,
    decide: impl Fn(&str, PolicyCall) -> Result<Value, Status> + Send + Sync + 'static,
) -> Response {
    match method {
        "GetIamPolicy" => {
            unary(request, move |it: wire::GetIamPolicyRequest| {
                decide(&it.resource, PolicyCall::Get).map(|it| to_wire(&it))
            })
            .await
        }
        "SetIamPolicy" => {
            unary(request, move |it: wire::SetIamPolicyRequest| {
                let policy = from_wire(it.policy.unwrap_or_default());
                decide(&it.resource, PolicyCall::Set(policy)).map(|it| to_wire(&it))
            })
            .await
        }
        "TestIamPermissions" => {
            unary(request, move |it: wire::TestIamPermissionsRequest| {
                let held = decide(&it.resource, PolicyCall::Test(it.permissions))?;
                let held = held["permissions"].as_array().into_iter().flatten();
                let permissions = held.filter_map(Value::as_str).map(str::to_owned).collect();
                Ok(wire::TestIamPermissionsResponse { permissions })
            })
            .await
        }
        other => Status::unimplemented(format!("{other} is not served here"))
            .into_http::<axum::body::Body>(),
    }
}

async fn unary<Q, A>(
    request: Request,
    answer: impl Fn(Q) -> Result<A, Status> + Send + Sync + 'static,
) -> Response
where
    Q: Message + Default + 'static,
    A: Message + Default + 'static,
{
    let service = service_fn(move |request: tonic::Request<Q>| {
        std::future::ready(answer(request.into_inner()).map(tonic::Response::new))
    });
    let mut grpc = tonic::server::Grpc::new(ProstCodec::default());
    grpc.unary(service, request).await.into_response()
}

/// A policy as the JSON APIs have it.
fn from_wire(policy: wire::Policy) -> Value {
    let bindings = policy.bindings.into_iter().map(|it| Binding {
        role: it.role,
        members: it.members,
        condition: it.condition.map(|it| Condition {
            title: it.title,
            description: it.description,
            expression: it.expression,
        }),
    });
    let bindings: Vec<_> = bindings.collect();
    let etag = String::from_utf8_lossy(&policy.etag);
    json!({"version": policy.version, "etag": etag, "bindings": bindings})
}

fn to_wire(policy: &Value) -> wire::Policy {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let bindings = policy["bindings"].as_array().into_iter().flatten().map(|it| {
        let members = it["members"].as_array().into_iter().flatten().map(text).collect();
        let mut binding = wire::Binding { role: text(&it["role"]), members, condition: None };
        if let Some(condition) = it.get("condition") {
            let expression = binding.condition.get_or_insert_default();
            expression.title = text(&condition["title"]);
            expression.description = text(&condition["description"]);
            expression.expression = text(&condition["expression"]);
        }
        binding
    });
    wire::Policy {
        version: if policy["version"] == 3 { 3 } else { 1 },
        bindings: bindings.collect(),
        etag: text(&policy["etag"]).into(),
        ..wire::Policy::default()
    }
}
