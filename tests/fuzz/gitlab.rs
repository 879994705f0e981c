//! What GitLab answers: statuses, merge requests, notes, users, and its words
//! about what it did not do.

use std::sync::{Arc, LazyLock};

use branchline_contract::CommitSha;
use branchline_gitlab::{
    Answer, Answering, Api, Call, Class, Client, Error, NewStatus, StatusState,
};
use branchline_service::telemetry::chain;
use fastrand::Rng;
use futures::FutureExt as _;
use secrecy::SecretString;
use serde_json::{Value, json};

use crate::contract::refused;
use crate::json;
use crate::mutate::{pick, short_text};
use crate::runner::Target;
use crate::server::Server;

pub(crate) const TARGETS: &[Target] = &[
    Target {
        name: "gitlab_answer",
        weight: 60,
        memory: 200,
        make: |rng| json::bytes(rng, &ANSWERS),
        check: answers,
    },
    Target {
        name: "gitlab_error",
        weight: 3,
        memory: 400,
        make: |rng| json::bytes(rng, &ERRORS),
        check: error,
    },
];

const SHA: &str = "9f2c1e0d8b7a65544332211000ffeeddccbbaa99";

static ANSWERS: LazyLock<Vec<Value>> = LazyLock::new(|| {
    let author = json!({"id": 7, "username": "branchline", "name": "Branchline"});
    let status = json!({
        "id": 1, "sha": SHA, "ref": "main", "status": "pending", "name": "branchline/iris",
        "target_url": null, "description": "waits in line", "pipeline_id": 30, "author": author,
    });
    let merge_request = json!({
        "iid": 12, "project_id": 7, "state": "opened", "source_branch": "try",
        "target_branch": "main", "sha": SHA, "title": "Try", "labels": ["a"],
    });
    let note = json!({"id": 3, "body": "<!-- branchline:run=iris -->\nx", "author": author, "system": false});
    vec![
        json!([status, status]),
        status,
        json!([merge_request, merge_request]),
        merge_request,
        json!([note, note]),
        note,
        author,
    ]
});

static ERRORS: LazyLock<Vec<Value>> = LazyLock::new(|| {
    vec![
        json!({"message": "403 Forbidden"}),
        json!({"message": {"target_url": ["is blocked", "is long"], "name": ["is taken"]}}),
        json!({"error": "invalid_token", "error_description": "Token was revoked."}),
        json!({"message": "Cannot transition status via :enqueue from :pending"}),
        json!({"id": 1, "status": "pending", "pipeline_id": 30}),
        json!("<html>\n  502"),
    ]
});

/// Answers every call with the same.
#[derive(Debug)]
struct Same {
    body: Vec<u8>,
    next_page: String,
}

impl Api for Same {
    fn call<'a>(&'a self, call: Call<'a>) -> Answering<'a> {
        let headers = [("x-next-page", &self.next_page)].into_iter();
        let headers = headers.filter_map(|(name, it)| Some((name.parse().ok()?, it.parse().ok()?)));
        let (headers, body) = (headers.collect(), self.body.clone());
        Box::pin(async move { Ok(Answer { call: call.name, headers, body, cut: false }) })
    }
}

fn answers(bytes: &[u8], rng: &mut Rng) -> bool {
    let next_page = if rng.u8(..64) == 0 { short_text(rng, &["2", ""]) } else { String::new() };
    let same = Same { body: bytes.to_vec(), next_page };
    let client = Client::over(Arc::new(same), "gitlab.example.com".to_owned());
    let sha = CommitSha::parse(SHA).unwrap();
    let found = [
        told(client.commit_statuses(7, &sha, "branchline/iris")),
        told(client.set_commit_status(7, &sha, &status())),
        told(client.merge_requests_of_commit(7, &sha)),
        told(client.merge_request(7, 12)),
        told(client.find_note(7, 12, |it| it.body.starts_with("<!--"))),
        told(client.create_note(7, 12, "note")),
        told(client.current_user()),
    ];
    found.contains(&true)
}

fn told<T>(call: impl Future<Output = Result<T, Error>>) -> bool {
    match call.now_or_never().unwrap() {
        Ok(_) => true,
        Err(error) => {
            // A proxy's page is not GitLab's answer; the next one may be.
            assert!(matches!(error.class(), Class::Transient | Class::Refused));
            refused(&chain(&error))
        }
    }
}

fn status() -> NewStatus {
    NewStatus {
        name: "branchline/iris".to_owned(),
        state: StatusState::Pending,
        description: "waits in line".to_owned(),
        target_url: None,
        pipeline_id: None,
    }
}

thread_local! {
    static GITLAB: (Server, Client) = {
        let server = Server::start();
        let token = SecretString::from("token");
        let client = server.wait(async { Client::new(&server.address, token) }).unwrap();
        (server, client)
    };
}

/// What is not done is explained in few words, whatever the answer is.
fn error(bytes: &[u8], rng: &mut Rng) -> bool {
    // Nobody waits here: locks and limits alone would be asked again.
    let status = *pick(rng, &[200, 201, 302, 400, 401, 403, 404, 422, 500, 502, 503]);
    let headers = ["retry-after", "ratelimit-reset", "ratelimit-remaining"];
    let headers =
        headers.map(|it| (it, short_text(rng, &["7", "0", "18446744073709551615", "soon"])));
    let sha = CommitSha::parse(SHA).unwrap();
    let set = GITLAB.with(|(server, client)| {
        server.answer(status, bytes, &headers);
        server.wait(client.set_commit_status(7, &sha, &self::status()))
    });
    match set {
        Ok(_) => {
            assert!(status < 300);
            true
        }
        Err(Error::Status { status: told, message, .. }) => {
            assert_eq!(told, status);
            assert!(message.chars().count() <= 500 && !message.contains('\n'));
            false
        }
        Err(error) => {
            assert!(status < 300, "{}", chain(&error));
            refused(&chain(&error))
        }
    }
}
