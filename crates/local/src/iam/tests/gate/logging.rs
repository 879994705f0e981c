//! Cloud Logging: whose entries are wanted is asked of each project that is named.

use super::*;

fn list(projects: &[&str], needs: &'static [&'static str]) -> Op {
    let names: Vec<_> = projects.iter().map(|it| format!("projects/{it}")).collect();
    let body = json!({"resourceNames": names, "filter": "severity>=ERROR"});
    rest(Service::Logging, "POST", "/v2/entries:list", body, needs)
}

#[tokio::test]
async fn methods_need_what_is_documented() {
    Yard::check(|| {
        let needs = &["logging.logEntries.list"];
        vec![list(&[PROJECT], needs), list(&[NUMBER, PROJECT], needs)]
    })
    .await;
}

#[tokio::test]
async fn a_project_that_may_be_read_opens_no_other() {
    let yard = Yard::new();
    yard.iam.create_project("other");
    yard.hold(&["logging.logEntries.list"]);
    let refused = yard.send(&list(&[PROJECT, "other"], &[]), &yard.token).await;
    let text = "Permission 'logging.logEntries.list' denied on resource \
                '//logging.googleapis.com/projects/other' (or it may not exist).";
    assert_eq!((refused.status, &refused.json()["error"]["message"]), (403, &json!(text)));
    // What names none is wrong, whoever asks.
    assert_eq!(yard.send(&list(&[], &[]), &yard.token).await.status, 400);
}
