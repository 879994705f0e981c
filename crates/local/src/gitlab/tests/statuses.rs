//! Which state may follow which, and where a status lands.

use serde_json::{Value, json};

use super::{Fixture, column};
use crate::gitlab::{AccessLevel, JobEnd, Trigger};

fn refused(event: &str, from: &str) -> (u16, Value) {
    let reason = format!("(Reason(s): Status cannot transition via \"{event}\")");
    (400, json!(format!("Cannot transition status via :{event} from :{from} {reason}")))
}

#[tokio::test]
async fn a_state_follows_only_where_gitlab_allows_it() {
    let cases = [
        ("pending", vec![], (201, json!("pending"))),
        ("running", vec![], (201, json!("running"))),
        ("success", vec![], (201, json!("success"))),
        ("canceled", vec![], (201, json!("canceled"))),
        ("skipped", vec![], (201, json!("skipped"))),
        ("running", vec!["pending"], (201, json!("running"))),
        ("skipped", vec!["pending"], (201, json!("skipped"))),
        ("failed", vec!["running"], (201, json!("failed"))),
        ("canceled", vec!["running"], (201, json!("canceled"))),
        ("running", vec!["running"], refused("run", "running")),
        ("pending", vec!["pending"], refused("enqueue", "pending")),
        ("pending", vec!["running"], refused("enqueue", "running")),
        ("skipped", vec!["running"], refused("skip", "running")),
        ("running", vec!["success"], (201, json!("running"))),
        ("success", vec!["success"], (201, json!("success"))),
    ];
    for (state, before, expected) in cases {
        let fixture = Fixture::new();
        for state in &before {
            assert_eq!(fixture.status(&format!("state={state}")).await.0, 201);
        }
        let actual = fixture.status(&format!("state={state}")).await;
        assert_eq!(actual, expected, "{state} after {before:?}");
    }
}

#[tokio::test]
async fn an_update_keeps_the_row_and_a_post_after_the_end_adds_one() {
    let fixture = Fixture::new();
    for state in ["pending", "running", "success"] {
        fixture.status(&format!("state={state}&name=train")).await;
    }
    let path = format!("/repository/commits/{}/statuses", fixture.feature);
    assert_eq!(column(&fixture.get(&path).await, "status"), ["success"]);
    fixture.status("state=running&name=train").await;
    assert_eq!(column(&fixture.get(&path).await, "status"), ["running"]);
    let all = fixture.get(&format!("{path}?all=true")).await;
    assert_eq!(column(&all, "status"), ["success", "running"]);
}

#[tokio::test]
async fn a_post_of_the_same_state_does_not_update_the_description() {
    let fixture = Fixture::new();
    fixture.status("state=running&description=one").await;
    fixture.status("state=running&description=two").await;
    let path = format!("/repository/commits/{}/statuses", fixture.feature);
    assert_eq!(column(&fixture.get(&path).await, "description"), ["one"]);
    fixture.status("state=success&description=two").await;
    assert_eq!(column(&fixture.get(&path).await, "description"), ["two"]);
}

#[tokio::test]
async fn another_user_gets_a_row_of_their_own() {
    let fixture = Fixture::new();
    fixture.status("state=running").await;
    let other = fixture.as_user("other", AccessLevel::Developer);
    assert_eq!(other.status("state=running").await, (201, json!("running")));
    let path = format!("/repository/commits/{}/statuses?all=true", fixture.feature);
    assert_eq!(column(&fixture.get(&path).await, "status"), ["running", "running"]);
}

#[tokio::test]
async fn a_status_joins_the_newest_pipeline_that_matches_or_makes_one() {
    let fixture = Fixture::new();
    let created = fixture.post(&format!("/statuses/{}?state=running", fixture.feature)).await;
    assert_eq!(
        (&created.body["ref"], &created.body["pipeline_id"]),
        (&json!("feature"), &json!(1))
    );
    assert_eq!(column(&fixture.get("/pipelines").await, "source"), ["external"]);

    let job = fixture.gitlab.start_pipeline(fixture.project, Trigger::Push("feature"), "train");
    let job = job.unwrap();
    let newest = fixture.post(&format!("/statuses/{}?state=running", fixture.feature)).await;
    assert_eq!(newest.body["pipeline_id"], json!(job.pipeline_id));
    let chosen = "state=success&pipeline_id=1";
    assert_eq!(fixture.status(chosen).await.0, 201);

    let missing = json!("404 Pipeline for pipeline_id, sha and ref Not Found");
    for query in ["state=success&pipeline_id=99", "state=success&pipeline_id=1&ref=main"] {
        assert_eq!(fixture.status(query).await, (404, missing.clone()), "{query}");
    }
    let unknown = fixture.post("/statuses/0123456789012345678901234567890123456789?state=success");
    assert_eq!(unknown.await.body, json!({"message": "404 Commit Not Found"}));
}

#[tokio::test]
async fn a_merge_request_pipeline_wants_its_id_and_no_ref() {
    let fixture = Fixture::new();
    let iid = fixture.gitlab.open_merge_request(fixture.project, "feature", "main", "F").unwrap();
    let trigger = Trigger::MergeRequest(iid);
    let job = fixture.gitlab.start_pipeline(fixture.project, trigger, "train").unwrap();
    let query = format!("state=running&pipeline_id={}", job.pipeline_id);
    assert_eq!(fixture.status(&format!("{query}&ref=feature")).await.0, 404);
    assert_eq!(fixture.status(&query).await.0, 201);
}

#[tokio::test]
async fn a_bad_value_is_named() {
    let fixture = Fixture::new();
    fixture.gitlab.start_pipeline(fixture.project, Trigger::Push("feature"), "train").unwrap();
    let blocked = "is blocked: Only allowed schemes are http, https";
    let long = "is too long (maximum is 255 characters)";
    let cases = [
        ("name=train", json!({"name": ["has already been taken"]})),
        ("target_url=ftp://host/x", json!({"target_url": [blocked]})),
        ("target_url=nonsense", json!({"target_url": ["must be a valid URL"]})),
        (&format!("target_url=http://h/{}", "x".repeat(247)), json!({"target_url": [long]})),
        (&format!("name={}", "x".repeat(256)), json!({"name": [long]})),
    ];
    for (query, message) in cases {
        assert_eq!(fixture.status(&format!("state=success&{query}")).await, (400, message));
    }
    let longest = format!("state=success&target_url=http://h/{}", "x".repeat(246));
    assert_eq!(fixture.status(&longest).await.0, 201);
    let path = format!("/statuses/{}", fixture.feature);
    let missing = fixture.post(&path).await;
    assert_eq!(missing.body, json!({"error": "state is missing"}));
    let invalid = fixture.post(&format!("{path}?state=done")).await;
    assert_eq!(invalid.body, json!({"error": "state does not have a valid value"}));
}

#[tokio::test]
async fn a_role_decides_where_a_status_may_be_set() {
    let fixture = Fixture::new();
    let cases = [
        (AccessLevel::Reporter, 403, 403),
        (AccessLevel::Developer, 201, 403),
        (AccessLevel::Maintainer, 201, 201),
    ];
    for (level, feature, main) in cases {
        let user = fixture.as_user(&format!("{level:?}"), level);
        for (sha, expected) in [(&fixture.feature, feature), (&fixture.main, main)] {
            let branch = if *sha == fixture.main { "main" } else { "feature" };
            let reply = user.post(&format!("/statuses/{sha}?state=success&ref={branch}")).await;
            assert_eq!(reply.status, expected, "{level:?} on {branch}");
        }
    }
    let user = fixture.as_user("reader", AccessLevel::Reporter);
    assert_eq!(user.status("state=success").await, (403, json!("403 Forbidden")));
}

#[tokio::test]
async fn a_ci_job_and_a_status_make_the_state_of_a_pipeline() {
    let fixture = Fixture::new();
    let job = fixture.gitlab.start_pipeline(fixture.project, Trigger::Push("feature"), "train");
    let job = job.unwrap();
    fixture.status("state=running&name=branchline/iris").await;
    fixture.gitlab.finish_job(job.id, JobEnd::Success, "done\n").unwrap();
    assert_eq!(column(&fixture.get("/pipelines").await, "status"), ["running"]);
    fixture.status("state=failed&name=branchline/iris").await;
    assert_eq!(column(&fixture.get("/pipelines").await, "status"), ["failed"]);
}
