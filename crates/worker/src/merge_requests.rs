//! The merge requests of a run's commit as GitLab tells them, and whose approvals of them count:
//! given since the newest push, and since an operator had the run tried again; neither by who opened
//! it nor by who asked for the run.

use std::collections::BTreeSet;

use branchline_contract::Gitlab;
use branchline_gitlab::{Approval, Class, Client, Error, MergeRequest, Version};
use branchline_ledger::MergeRequest as OnRecord;
use jiff::Timestamp;

/// Merge requests of one commit that are looked at.
const MERGE_REQUESTS_MAX: usize = 10;
/// Approvals of one that count.
const APPROVERS_MAX: usize = 100;

/// Who asked for an attempt, and when, as far as that keeps approvals from counting.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Asked {
    /// Ids of the users who asked for it, where all of them are known.
    pub by: Option<Vec<u64>>,
    /// Approvals that are not younger were meant for the attempt before.
    pub anew: Option<Timestamp>,
}

/// One of them.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    /// As GitLab tells it.
    pub merge_request: MergeRequest,
    /// Login names of those whose approvals count, each person once.
    pub approvers: Vec<String>,
}

/// The merge requests whose newest commit is the origin's, or that it merged.
pub(crate) async fn of(
    gitlab: &Client,
    origin: &Gitlab,
    asked: &Asked,
) -> Result<Vec<Found>, Error> {
    let mut all = Vec::new();
    if let Some(named) = &origin.merge_request {
        // A message names whichever it likes: that hides no other, and need not be one.
        match gitlab.merge_request(origin.project_id, named.iid).await {
            Err(error) if error.class() == Class::NotFound => {}
            named => all.push(named?),
        }
    }
    all.extend(gitlab.merge_requests_of_commit(origin.project_id, &origin.sha).await?);
    let mut seen = BTreeSet::new();
    all.retain(|it| seen.insert((it.project_id, it.iid)));
    let mut found = Vec::new();
    let ours = all.into_iter().filter(|it| is_of(origin.sha.as_str(), it));
    for merge_request in ours.take(MERGE_REQUESTS_MAX) {
        let MergeRequest { project_id, iid, .. } = merge_request;
        let versions = gitlab.versions(project_id, iid).await?;
        let given = gitlab.approvals(project_id, iid).await?;
        let approvers = approvers(&merge_request, asked, versions.first(), &given);
        found.push(Found { merge_request, approvers });
    }
    Ok(found)
}

impl From<Found> for OnRecord {
    fn from(found: Found) -> Self {
        let Found { merge_request: it, approvers: approved_by } = found;
        let login = |user: Option<branchline_gitlab::User>| user.map(|it| it.username);
        Self {
            iid: it.iid,
            state: it.state,
            target_branch: it.target_branch,
            author: login(it.author),
            merged_by: login(it.merge_user),
            approved_by,
        }
    }
}

/// Whether a merge request's newest commit is that one, or it was merged by it; and not closed.
fn is_of(sha: &str, it: &MergeRequest) -> bool {
    let is = |theirs: &Option<String>| theirs.as_deref() == Some(sha);
    match it.state.as_str() {
        "opened" => is(&it.sha),
        "merged" => is(&it.sha) || is(&it.merge_commit_sha) || is(&it.squash_commit_sha),
        _ => false,
    }
}

fn approvers(
    merge_request: &MergeRequest,
    asked: &Asked,
    newest: Option<&Version>,
    given: &[Approval],
) -> Vec<String> {
    let author = merge_request.author.as_ref().map(|it| it.id);
    let pushed = newest.filter(|it| Some(&it.head_commit_sha) == merge_request.sha.as_ref());
    // Where one of them is not known, anybody could be it.
    let (Some(askers), Some(author), Some(pushed)) = (&asked.by, author, pushed) else {
        return Vec::new();
    };
    let newest = asked.anew.map_or(pushed.created_at, |it| it.max(pushed.created_at));
    let since = |it: &&Approval| it.approved_at.is_some_and(|at| at > newest);
    let another = |it: &&Approval| it.user.id != author && !askers.contains(&it.user.id);
    let mut counts: Vec<_> = given.iter().filter(since).filter(another).collect();
    counts.sort_by_key(|it| it.user.id);
    counts.dedup_by_key(|it| it.user.id);
    counts.into_iter().take(APPROVERS_MAX).map(|it| it.user.username.clone()).collect()
}

#[cfg(test)]
mod tests {
    use branchline_gitlab::User;
    use jiff::SignedDuration;

    use super::*;

    const SHA: &str = "0123456789012345678901234567890123456789";
    const OTHER: &str = "9999999999999999999999999999999999999999";

    fn pushed() -> Timestamp {
        "2026-11-24T12:00:00Z".parse().unwrap()
    }

    fn user(id: u64) -> User {
        User { id, username: format!("user{id}") }
    }

    /// An approval so many seconds after the push.
    fn given(id: u64, after: i64) -> Approval {
        Approval { user: user(id), approved_at: Some(pushed() + SignedDuration::from_secs(after)) }
    }

    fn merge_request(state: &str, sha: &str, author: Option<u64>) -> MergeRequest {
        MergeRequest {
            iid: 3,
            project_id: 7,
            state: state.to_owned(),
            source_branch: "try".to_owned(),
            target_branch: "main".to_owned(),
            sha: Some(sha.to_owned()),
            author: author.map(user),
            merge_user: None,
            merge_commit_sha: None,
            squash_commit_sha: None,
        }
    }

    fn version(sha: &str) -> Version {
        Version { head_commit_sha: sha.to_owned(), created_at: pushed() }
    }

    #[test]
    fn an_approval_counts_for_the_commit_that_it_saw_and_from_somebody_else() {
        let timeless = Approval { user: user(4), approved_at: None };
        let cases = [
            ("another's", vec![given(4, 60)], Some(SHA), Some(5), Some(7), 1),
            ("two others'", vec![given(4, 60), given(6, 60)], Some(SHA), Some(5), Some(7), 2),
            ("twice by one", vec![given(4, 60), given(4, 61)], Some(SHA), Some(5), Some(7), 1),
            ("before the push", vec![given(4, -1)], Some(SHA), Some(5), Some(7), 0),
            ("at the push", vec![given(4, 0)], Some(SHA), Some(5), Some(7), 0),
            ("at no known time", vec![timeless], Some(SHA), Some(5), Some(7), 0),
            ("the author's", vec![given(5, 60)], Some(SHA), Some(5), Some(7), 0),
            ("the requester's", vec![given(7, 60)], Some(SHA), Some(5), Some(7), 0),
            ("of a later push", vec![given(4, 60)], Some(OTHER), Some(5), Some(7), 0),
            ("of nothing known", vec![given(4, 60)], None, Some(5), Some(7), 0),
            ("of an unknown author", vec![given(4, 60)], Some(SHA), None, Some(7), 0),
            ("for an unknown requester", vec![given(4, 60)], Some(SHA), Some(5), None, 0),
        ];
        for (name, approvals, newest, author, requester, expected) in cases {
            let newest = newest.map(version);
            let it = merge_request("opened", SHA, author);
            let asked = Asked { by: requester.map(|it| vec![it]), anew: None };
            let found = approvers(&it, &asked, newest.as_ref(), &approvals);
            assert_eq!(found.len(), expected, "{name}");
        }
    }

    #[test]
    fn an_attempt_that_an_operator_began_wants_approvals_anew_and_from_somebody_else() {
        let anew = Some(pushed() + SignedDuration::from_secs(100));
        let cases = [
            ("another's", vec![given(4, 101)], Some(vec![7, 6]), 1),
            ("of the attempt before", vec![given(4, 100)], Some(vec![7, 6]), 0),
            ("the operator's", vec![given(6, 101)], Some(vec![7, 6]), 0),
            ("the requester's", vec![given(7, 101)], Some(vec![7, 6]), 0),
            ("where nobody knows the operator", vec![given(4, 101)], None, 0),
        ];
        for (name, approvals, by, expected) in cases {
            let it = merge_request("opened", SHA, Some(5));
            let found = approvers(&it, &Asked { by, anew }, Some(&version(SHA)), &approvals);
            assert_eq!(found.len(), expected, "{name}");
        }
        // A push behind it counts as ever.
        let asked =
            Asked { by: Some(vec![7]), anew: Some(pushed() - SignedDuration::from_secs(1)) };
        let it = merge_request("opened", SHA, Some(5));
        assert!(approvers(&it, &asked, Some(&version(SHA)), &[given(4, 0)]).is_empty());
    }

    #[test]
    fn a_commit_belongs_to_the_merge_requests_that_end_in_it_or_were_merged_by_it() {
        let merged = |merge: Option<&str>, squash: Option<&str>| {
            let text = |it: Option<&str>| it.map(str::to_owned);
            let (merge_commit_sha, squash_commit_sha) = (text(merge), text(squash));
            let it = merge_request("merged", OTHER, Some(5));
            MergeRequest { merge_commit_sha, squash_commit_sha, ..it }
        };
        let cases = [
            ("open", merge_request("opened", SHA, Some(5)), true),
            ("merged, and not by a commit", merge_request("merged", SHA, Some(5)), true),
            ("closed", merge_request("closed", SHA, Some(5)), false),
            ("pushed to since", merge_request("opened", OTHER, Some(5)), false),
            ("merged by it", merged(Some(SHA), None), true),
            ("squashed to it", merged(Some(OTHER), Some(SHA)), true),
            ("merged by another", merged(Some(OTHER), None), false),
            (
                "to be merged by it, GitLab says",
                MergeRequest { state: "opened".to_owned(), ..merged(Some(SHA), None) },
                false,
            ),
        ];
        for (name, it, expected) in cases {
            assert_eq!(is_of(SHA, &it), expected, "{name}");
        }
    }
}
