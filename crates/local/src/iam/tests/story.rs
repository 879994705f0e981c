//! The whole way over sockets: from a job of GitLab to a message, an object and a training job.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::*;

/// The status of an answer, and its body.
async fn call(
    host: std::net::SocketAddr,
    token: &str,
    request: &str,
    body: &Value,
) -> (u16, Value) {
    let authorization = match token {
        "" => String::new(),
        token => format!("Authorization: Bearer {token}\r\n"),
    };
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let text = format!(
        "{request} HTTP/1.0\r\nHost: {host}\r\n{authorization}Content-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len(),
    );
    let mut connection = TcpStream::connect(host).await.unwrap();
    connection.write_all(text.as_bytes()).await.unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, serde_json::from_str(body).unwrap_or_default())
}

#[tokio::test]
async fn a_job_of_gitlab_does_what_its_account_may_and_nothing_else() {
    let at = Fixture::start(Options { enforce_iam: true, ..Options::default() }).await;
    let (stack, endpoints) = (&at.stack, at.stack.endpoints());
    let topic = format!("projects/{PROJECT}/topics/ready");
    stack.pubsub.create_topic(&topic).unwrap();
    stack.storage.create_bucket("artifacts").unwrap();
    let publisher = at.iam().create_service_account(PROJECT, "publisher");
    let member = format!("principal:{}/subject/gitlab-1", at.pool);
    let own = format!("serviceAccount:{publisher}");
    for (on, role, member) in [
        (Resource::account(&publisher), "roles/iam.workloadIdentityUser", &member),
        (Resource::topic(PROJECT, "ready"), "roles/pubsub.publisher", &own),
        (Resource::bucket("artifacts"), "roles/storage.objectCreator", &own),
    ] {
        at.iam().bind(&on, role, member).unwrap();
    }

    let exchange = json!({
        "grantType": GRANT, "requestedTokenType": ACCESS_TOKEN, "subjectTokenType": JWT,
        "audience": at.audience, "scope": "https://www.googleapis.com/auth/cloud-platform",
        "subjectToken": at.id_token(),
    });
    let (status, answer) = call(endpoints.iam, "", "POST /v1/token", &exchange).await;
    assert_eq!(status, 200, "{answer}");
    let federated = answer["access_token"].as_str().unwrap();
    let generate = format!("POST /v1/projects/-/serviceAccounts/{publisher}:generateAccessToken");
    let scope = json!({"scope": ["https://www.googleapis.com/auth/cloud-platform"]});
    let (status, answer) = call(endpoints.iam, federated, &generate, &scope).await;
    assert_eq!(status, 200, "{answer}");
    let token = answer["accessToken"].as_str().unwrap();

    let publish = format!("POST /v1/{topic}:publish");
    let message = json!({"messages": [{"data": "YQ=="}]});
    let upload = "POST /upload/storage/v1/b/artifacts/o?uploadType=media&name=model";
    let jobs = format!("GET /v1/projects/{PROJECT}/locations/us-central1/customJobs");
    for (host, request, body, expected) in [
        (endpoints.pubsub, publish.as_str(), &message, [401, 403, 200]),
        (endpoints.storage, upload, &json!("content"), [401, 403, 200]),
        (endpoints.storage, "GET /storage/v1/b/artifacts/o/model", &Value::Null, [401, 403, 403]),
        (endpoints.vertex, &jobs, &Value::Null, [401, 403, 403]),
    ] {
        for (token, expected) in ["", federated, token].into_iter().zip(expected) {
            let (status, answer) = call(host, token, request, body).await;
            assert_eq!(status, expected, "{request}: {answer}");
        }
    }
    at.stack.shutdown().await;
}
