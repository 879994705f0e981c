//! The services, where every request is asked for its permission: each with exactly what Google
//! documents for it, and with everything but that.

mod logging;
mod policies;
mod pubsub;
mod roles;
mod storage;
mod vertex;

use axum::body::{Body, Bytes, to_bytes};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE};
use axum::http::{HeaderMap, Request};
use axum::{Router, response::Response};
use futures::StreamExt as _;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::{NUMBER, PROJECT};
use crate::faults::{Dice, Service};
use crate::iam::{Iam, Resource};
use crate::pubsub::{PubSub, Subscription};
use crate::storage::Storage;
use crate::vertex::Vertex;

const ME: &str = "me@demo-project.iam.gserviceaccount.com";
const ROLE: &str = "projects/demo-project/roles/mine";
const TOPIC: &str = "projects/demo-project/topics/orders";
const SUB: &str = "projects/demo-project/subscriptions/worker";

/// The services behind their gates, and one account's token.
struct Yard {
    iam: Iam,
    pubsub: PubSub,
    storage: Storage,
    vertex: Vertex,
    token: String,
}

/// A request, and what it needs.
struct Op {
    service: Service,
    method: &'static str,
    path: String,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
    needs: &'static [&'static str],
}

/// What came of a request.
#[derive(Debug)]
struct Outcome {
    status: u16,
    /// Of gRPC, where it is no trailer.
    grpc: Option<i32>,
    headers: HeaderMap,
    text: String,
    bytes: Bytes,
}

impl Outcome {
    const fn is_refused(&self) -> bool {
        matches!((self.status, self.grpc), (401 | 403, _) | (_, Some(7 | 16)))
    }

    /// The message over gRPC.
    fn message<M: prost::Message + Default>(&self) -> M {
        M::decode(&self.bytes[5..]).unwrap()
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("{self:?}"))
    }
}

fn rest(
    service: Service,
    method: &'static str,
    path: &str,
    body: Value,
    needs: &'static [&'static str],
) -> Op {
    let body = match body {
        Value::Null => Vec::new(),
        body => body.to_string().into_bytes(),
    };
    let headers = vec![("content-type", "application/json".to_owned())];
    Op { service, method, path: path.to_owned(), headers, body, needs }
}

fn grpc(
    service: Service,
    path: &str,
    message: &impl prost::Message,
    needs: &'static [&'static str],
) -> Op {
    let message = message.encode_to_vec();
    let mut body = vec![0];
    body.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
    body.extend(message);
    let headers = vec![("content-type", "application/grpc".to_owned())];
    Op { service, method: "POST", path: path.to_owned(), headers, body, needs }
}

impl Yard {
    fn new() -> Self {
        let iam = Iam::new();
        iam.create_project(PROJECT);
        let pubsub = PubSub::open(None, Dice::default()).unwrap();
        pubsub.forward_as_agent(&iam).unwrap();
        pubsub.create_topic(TOPIC).unwrap();
        let subscription = Subscription {
            name: SUB.to_owned(),
            topic: TOPIC.to_owned(),
            ..Subscription::default()
        };
        pubsub.create_subscription(subscription).unwrap();
        let storage = Storage::open(None).unwrap();
        storage.create_bucket("bucket").unwrap();
        storage.put("bucket", "there", "content").unwrap();
        let vertex = Vertex::open(None, storage.clone(), Dice::default()).unwrap();
        iam.enforce(true);
        let token = iam.account_token(&iam.create_service_account(PROJECT, "me"));
        Self { iam, pubsub, storage, vertex, token }
    }

    fn router(&self, service: Service) -> Router {
        let router = match service {
            Service::Pubsub => self.pubsub.router(),
            Service::Storage => self.storage.router(),
            Service::Vertex => self.vertex.router(),
            Service::Logging => self.vertex.logging().router(),
            Service::Gitlab | Service::Iam => unreachable!("these have no gate"),
        };
        self.iam.guard(service, router)
    }

    /// Has the account hold exactly these permissions in the whole project.
    fn hold(&self, permissions: &[&str]) {
        self.iam.put_role(ROLE, permissions);
        self.iam.bind(&Resource::project(PROJECT), ROLE, &format!("serviceAccount:{ME}")).unwrap();
    }

    async fn send(&self, op: &Op, token: &str) -> Outcome {
        let mut request = Request::builder().method(op.method).uri(&op.path);
        for (name, value) in &op.headers {
            request = request.header(*name, value);
        }
        if !token.is_empty() {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        let request = request.body(Body::from(op.body.clone())).unwrap();
        outcome(self.router(op.service).oneshot(request).await.unwrap()).await
    }

    /// Each of them made anew for every try, because some take away what they are about.
    async fn check(ops: impl Fn() -> Vec<Op>) {
        for at in 0..ops().len() {
            let op = &ops()[at];
            let name = format!("{} {}", op.method, op.path);
            let yard = Self::new();
            for (token, expected) in [("", "missing"), ("unknown", "unknown")] {
                let outcome = yard.send(op, token).await;
                assert!(outcome.is_refused(), "{name}, {expected} token: {outcome:?}");
                assert!(outcome.status == 401 || outcome.grpc == Some(16), "{name}: {outcome:?}");
            }
            for without in op.needs {
                let others: Vec<_> = universe().into_iter().filter(|it| it != without).collect();
                yard.hold(&others);
                let outcome = yard.send(op, &yard.token).await;
                assert!(outcome.is_refused(), "{name} without {without}: {outcome:?}");
                let details = outcome.headers.get("grpc-status-details-bin");
                assert!(details.is_some() || outcome.text.contains(without), "{name}: {outcome:?}");
            }
            yard.hold(op.needs);
            let outcome = yard.send(op, &yard.token).await;
            assert!(!outcome.is_refused(), "{name} with {:?}: {outcome:?}", op.needs);
            assert!(outcome.status < 400 && outcome.grpc.is_none_or(|it| it == 0), "{outcome:?}");
        }
    }
}

async fn outcome(response: Response) -> Outcome {
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let grpc = headers.get("grpc-status").map(|it| it.to_str().unwrap().parse().unwrap());
    let is_stream = headers.get(CONTENT_TYPE).is_some_and(|it| it == "application/grpc");
    let mut body = response.into_body().into_data_stream();
    // A stream goes on after its first message.
    let bytes = if is_stream {
        body.next().await.map(Result::unwrap).unwrap_or_default()
    } else {
        to_bytes(Body::from_stream(body), usize::MAX).await.unwrap()
    };
    let text = String::from_utf8_lossy(&bytes).into_owned();
    Outcome { status, grpc, headers, text, bytes }
}

/// Every permission that a predefined role has.
pub(super) fn universe() -> Vec<&'static str> {
    let roles = ["roles/owner", "roles/iam.serviceAccountTokenCreator"];
    let all = roles.iter().flat_map(|it| crate::iam::roles::permissions(it).unwrap());
    let mut all: Vec<_> = all.collect();
    all.sort_unstable();
    all.dedup();
    all
}

#[tokio::test]
async fn what_nobody_knows_nobody_may() {
    let yard = Yard::new();
    yard.hold(&universe());
    let unknown = [
        (Service::Pubsub, "POST", "/v1/projects/demo-project/snapshots/s"),
        (Service::Pubsub, "POST", "/v1/projects/demo-project/topics/orders:other"),
        (Service::Pubsub, "POST", "/google.pubsub.v1.Publisher/Other"),
        (Service::Pubsub, "HEAD", "/v1/projects/demo-project/topics/orders"),
        (Service::Storage, "DELETE", "/storage/v1/b/bucket"),
        (Service::Storage, "HEAD", "/storage/v1/b/bucket/o/there"),
        (Service::Storage, "GET", "/bucket/there"),
        (Service::Vertex, "GET", "/v1/projects/demo-project/locations/us-central1/models"),
        (Service::Vertex, "POST", "/v1/projects/demo-project/locations/us-central1/customJobs/1"),
        (Service::Logging, "POST", "/v2/entries:write"),
        (Service::Logging, "GET", "/v2/entries:list"),
        (Service::Vertex, "PATCH", "/v1/projects/demo-project/locations/us-central1/customJobs/1"),
    ];
    for (service, method, path) in unknown {
        let op = rest(service, method, path, Value::Null, &[]);
        let outcome = yard.send(&op, &yard.token).await;
        assert_eq!(outcome.status, 403, "{method} {path}: {outcome:?}");
    }
    let op = grpc(Service::Storage, "/google.storage.v2.Storage/Other", &(), &[]);
    assert!(yard.send(&op, &yard.token).await.is_refused());
}

#[tokio::test]
async fn while_nothing_is_enforced_everybody_may_everything() {
    let yard = Yard::new();
    yard.iam.enforce(false);
    yard.iam.disable_api(PROJECT, "pubsub.googleapis.com");
    for token in ["", "unknown", &yard.token] {
        for (service, path) in [
            (Service::Pubsub, "/v1/projects/demo-project/topics/orders"),
            (Service::Storage, "/storage/v1/b/bucket/o/there"),
            (Service::Vertex, "/v1/projects/demo-project/locations/us-central1/customJobs"),
        ] {
            let op = rest(service, "GET", path, Value::Null, &[]);
            assert_eq!(yard.send(&op, token).await.status, 200, "{path}");
        }
    }
}

#[tokio::test]
async fn a_disabled_api_says_so() {
    let yard = Yard::new();
    yard.hold(&universe());
    for (service, api, title, path) in [
        (Service::Pubsub, "pubsub", "Cloud Pub/Sub API", "/v1/projects/demo-project/topics/orders"),
        (Service::Pubsub, "pubsub", "Cloud Pub/Sub API", "/v1/projects/demo-project/topics"),
        (Service::Storage, "storage", "Cloud Storage API", "/storage/v1/b/bucket/o/there"),
        (
            Service::Vertex,
            "aiplatform",
            "Vertex AI API",
            "/v1/projects/demo-project/locations/us-central1/customJobs",
        ),
    ] {
        let (op, api) =
            (rest(service, "GET", path, Value::Null, &[]), format!("{api}.googleapis.com"));
        yard.iam.disable_api(PROJECT, &api);
        let outcome = yard.send(&op, &yard.token).await;
        let message = format!(
            "{title} has not been used in project {NUMBER} before or it is disabled. Enable it by \
             visiting https://console.developers.google.com/apis/api/{api}/overview?\
             project={NUMBER} then retry. If you enabled this API recently, wait a few minutes"
        );
        let body = outcome.json();
        assert_eq!(outcome.status, 403, "{path}: {body}");
        assert!(body["error"]["message"].as_str().unwrap().starts_with(&message), "{body}");
        if service != Service::Storage {
            assert_eq!(body["error"]["details"][0]["reason"], "SERVICE_DISABLED");
        }
        yard.iam.enable_api(PROJECT, &api);
        assert_eq!(yard.send(&op, &yard.token).await.status, 200, "{path}");
    }
}

#[tokio::test]
async fn a_token_that_is_over_is_nobodys() {
    let yard = Yard::new();
    yard.hold(&universe());
    let path = "/v1/projects/demo-project/topics/orders";
    let op = rest(Service::Pubsub, "GET", path, Value::Null, &[]);
    assert_eq!(yard.send(&op, &yard.token).await.status, 200);
    let who = crate::iam::principal::Principal::Account(ME.to_owned());
    let [over, lasting] = [0, 60].map(|seconds| yard.iam.lock().issue(who.clone(), seconds).0);
    assert_eq!(yard.send(&op, &over).await.status, 401);
    assert_eq!(yard.send(&op, &lasting).await.status, 200);
    yard.iam.revoke_tokens();
    let outcome = yard.send(&op, &yard.token).await;
    assert_eq!(
        (outcome.status, &outcome.json()["error"]["status"]),
        (401, &json!("UNAUTHENTICATED"))
    );
}
