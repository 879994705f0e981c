//! The metadata server, as Google's clients ask it.

use super::credentials::google_claims;
use super::*;

const ROOT: &str = "/computeMetadata/v1";

async fn get(iam: &Iam, path: &str) -> Reply {
    let request = Request::get(path).header("Metadata-Flavor", "Google").body(Body::empty());
    raw(iam, request.unwrap()).await
}

#[tokio::test]
async fn a_workload_learns_who_it_is() {
    let iam = &Iam::new();
    let account = format!("{ROOT}/instance/service-accounts/default");
    assert_eq!(get(iam, &format!("{account}/email")).await.status, 404);
    iam.create_project(PROJECT);
    let email = iam.create_service_account(PROJECT, "worker");
    iam.set_metadata_account(&email);
    for (path, expected) in [
        ("/", "computeMetadata/\n"),
        (&format!("{ROOT}/project/project-id"), PROJECT),
        (&format!("{ROOT}/project/numeric-project-id"), NUMBER),
        (&format!("{ROOT}/universe/universe-domain"), "googleapis.com"),
        (&format!("{account}/email"), &email),
        (&format!("{ROOT}/instance/service-accounts/{email}/email"), &email),
    ] {
        let reply = get(iam, path).await;
        assert_eq!((reply.status, reply.text.as_str()), (200, expected), "{path}");
        assert_eq!(reply.headers["metadata-flavor"], "Google", "{path}");
    }
    let info = get(iam, &format!("{account}/?recursive=true")).await.json();
    assert_eq!(info["email"], email);

    let token = get(iam, &format!("{account}/token?scopes=a")).await.json();
    assert_eq!((&token["token_type"], &token["expires_in"]), (&json!("Bearer"), &json!(3_599)));
    let on = Resource::project(PROJECT);
    iam.bind(&on, "roles/browser", &format!("serviceAccount:{email}")).unwrap();
    iam.enforce(true);
    let access = token["access_token"].as_str().unwrap();
    let path = format!("/v1/projects/{PROJECT}");
    assert_eq!(send(iam, access, "GET", &path, &Value::Null).await.status, 200);

    let identity = get(iam, &format!("{account}/identity?audience=me&format=full")).await.text;
    let claims = google_claims(iam, &identity).await;
    assert_eq!((&claims["aud"], &claims["email"]), (&json!("me"), &json!(email)));
    assert_eq!(get(iam, &format!("{account}/identity")).await.status, 400);

    let request = Request::get(format!("{account}/token")).body(Body::empty());
    assert_eq!(raw(iam, request.unwrap()).await.status, 403, "without the header");
}

#[tokio::test]
async fn each_role_has_a_metadata_server_of_its_own() {
    let stack = Stack::start(Options::default()).await.unwrap();
    let (iam, project) = (&stack.iam, PROJECT);
    iam.create_project(project);
    for id in ["worker", "notifier"] {
        let email = iam.create_service_account(project, id);
        let host = stack.metadata_server(&email).await.unwrap();
        let request = format!(
            "GET {ROOT}/instance/service-accounts/default/email HTTP/1.0\r\nHost: {host}\r\n\
             Metadata-Flavor: Google\r\n\r\n"
        );
        let mut connection = tokio::net::TcpStream::connect(host).await.unwrap();
        tokio::io::AsyncWriteExt::write_all(&mut connection, request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        tokio::io::AsyncReadExt::read_to_string(&mut connection, &mut answer).await.unwrap();
        assert!(answer.ends_with(&email), "{answer}");
    }
    stack.shutdown().await;
}
