//! Merge requests and the notes on them.

use axum::http::Method;
use serde_json::json;

use super::{Fixture, column};
use crate::gitlab::{AccessLevel, Error};

#[tokio::test]
async fn an_open_merge_request_follows_its_branch() {
    let fixture = Fixture::new();
    let Fixture { gitlab, project, .. } = &fixture;
    gitlab.open_merge_request(*project, "feature", "main", "Feature").unwrap();
    let sha = gitlab.commit(*project, "feature", "More", &[("b.txt", b"three")]).unwrap();
    assert_eq!(fixture.get("/merge_requests/1").await.body["sha"], json!(sha));
    let again = gitlab.open_merge_request(*project, "feature", "main", "Feature");
    assert!(matches!(again, Err(Error::Conflict(_))));
}

#[tokio::test]
async fn a_commit_knows_its_merge_requests() {
    let fixture = Fixture::new();
    let Fixture { gitlab, project, feature, main, .. } = &fixture;
    gitlab.open_merge_request(*project, "feature", "main", "Feature").unwrap();
    let states = async |sha: &str, state: &str| {
        let path = format!("/repository/commits/{sha}/merge_requests?state={state}");
        column(&fixture.get(&path).await, "state")
    };
    assert_eq!(states(feature, "opened").await, ["opened"]);
    assert!(states(main, "all").await.is_empty(), "the target's own commits are not in it");

    let merged = gitlab.merge(*project, 1).unwrap();
    assert!(states(feature, "opened").await.is_empty());
    assert_eq!(states(feature, "merged").await, ["merged"]);
    assert_eq!(states(&merged, "all").await, ["merged"]);
    let file = fixture.get("/repository/files/b.txt/raw?ref=main").await;
    assert_eq!(file.body, json!("two"));
}

#[tokio::test]
async fn a_conflict_is_not_merged() {
    let fixture = Fixture::new();
    let Fixture { gitlab, project, .. } = &fixture;
    gitlab.commit(*project, "feature", "Ours", &[("a.txt", b"ours")]).unwrap();
    gitlab.commit(*project, "main", "Theirs", &[("a.txt", b"theirs")]).unwrap();
    gitlab.open_merge_request(*project, "feature", "main", "Feature").unwrap();
    let reply = fixture.call(Method::PUT, "/merge_requests/1/merge").await;
    assert_eq!(reply.status, 405);
    assert_eq!(fixture.get("/merge_requests/1").await.body["state"], "opened");
}

#[tokio::test]
async fn a_closed_merge_request_keeps_what_it_contained() {
    let fixture = Fixture::new();
    let Fixture { gitlab, project, feature, .. } = &fixture;
    gitlab.open_merge_request(*project, "feature", "main", "Feature").unwrap();
    gitlab.close_merge_request(*project, 1).unwrap();
    gitlab.commit(*project, "feature", "Later", &[("b.txt", b"later")]).unwrap();
    let closed = fixture.get("/merge_requests/1").await.body;
    assert_eq!((&closed["state"], &closed["sha"]), (&json!("closed"), &json!(feature)));
    fixture.call(Method::PUT, "/merge_requests/1?state_event=reopen").await;
    assert_ne!(fixture.get("/merge_requests/1").await.body["sha"], json!(feature));
}

#[tokio::test]
async fn notes_come_in_pages() {
    let fixture = Fixture::new();
    fixture.gitlab.open_merge_request(fixture.project, "feature", "main", "Feature").unwrap();
    for body in ["a", "b", "c", "d", "e"] {
        fixture.post(&format!("/merge_requests/1/notes?body={body}")).await;
    }
    let newest = fixture.get("/merge_requests/1/notes").await;
    assert_eq!(column(&newest, "body"), ["e", "d", "c", "b", "a"]);

    let query = "order_by=created_at&sort=asc&per_page=2";
    let second = fixture.get(&format!("/merge_requests/1/notes?{query}&page=2")).await;
    assert_eq!(column(&second, "body"), ["c", "d"]);
    let header = |name: &str| second.headers[name].to_str().unwrap();
    assert_eq!((header("x-page"), header("x-next-page")), ("2", "3"));
    assert_eq!((header("x-total"), header("x-total-pages")), ("5", "3"));
    let next = "<http://127.0.0.1:8929/api/v4/projects/1/merge_requests/1/notes?\
        order_by=created_at&sort=asc&page=3&per_page=2>; rel=\"next\"";
    assert!(header("link").contains(next), "{}", header("link"));
    let last = fixture.get(&format!("/merge_requests/1/notes?{query}&page=3")).await;
    assert_eq!(last.headers["x-next-page"], "");
}

#[tokio::test]
async fn a_note_is_edited_and_deleted_and_its_id_is_not_given_away_again() {
    let fixture = Fixture::new();
    fixture.gitlab.open_merge_request(fixture.project, "feature", "main", "Feature").unwrap();
    let note = fixture.post("/merge_requests/1/notes?body=one").await;
    assert_eq!(note.body["id"], 1);
    let path = "/merge_requests/1/notes/1";
    let other = fixture.as_user("other", AccessLevel::Developer);
    assert_eq!(other.call(Method::PUT, &format!("{path}?body=x")).await.status, 403);
    let edited = fixture.call(Method::PUT, &format!("{path}?body=two")).await;
    assert_eq!(edited.body["body"], "two");
    assert_eq!(fixture.call(Method::DELETE, path).await.status, 204);
    assert_eq!(fixture.get(path).await.body, json!({"message": "404 Note Not Found"}));
    let next = fixture.post("/merge_requests/1/notes?body=three").await;
    assert_eq!(next.body["id"], 2);
}
