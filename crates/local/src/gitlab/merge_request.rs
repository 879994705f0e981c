//! Merge requests: opened, closed, merged.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::approval::{Approval, Version};
use super::error::Error;
use super::state::State;
use super::user::User;

#[derive(Clone, Serialize, Deserialize)]
pub(super) struct MergeRequest {
    pub(super) id: u64,
    pub(super) iid: u64,
    pub(super) project_id: u64,
    pub(super) author_id: u64,
    pub(super) title: String,
    pub(super) description: String,
    pub(super) source_branch: String,
    pub(super) target_branch: String,
    pub(super) state: MergeState,
    /// What it contained when it was closed or merged; while open, see [`State::diff`].
    pub(super) last_diff: Diff,
    pub(super) created_at: Timestamp,
    pub(super) updated_at: Timestamp,
    pub(super) ended_at: Option<Timestamp>,
    pub(super) ended_by: Option<u64>,
    pub(super) merge_commit_sha: Option<String>,
    /// One for each push, oldest first.
    #[serde(default)]
    pub(super) versions: Vec<Version>,
    #[serde(default)]
    pub(super) approvals: Vec<Approval>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum MergeState {
    Opened,
    Closed,
    Merged,
}

impl MergeState {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Opened => "opened",
            Self::Closed => "closed",
            Self::Merged => "merged",
        }
    }
}

/// The commits after `base` up to `head`.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Diff {
    pub(super) base: Option<String>,
    pub(super) head: String,
}

impl MergeRequest {
    pub(super) fn ref_path(&self) -> String {
        format!("refs/merge-requests/{}/head", self.iid)
    }
}

impl State {
    pub(super) fn merge_request(&self, project_id: u64, iid: u64) -> Result<&MergeRequest, Error> {
        let mut all = self.merge_requests.values();
        let found = all.find(|it| it.project_id == project_id && it.iid == iid);
        found.ok_or(Error::NotFound("Merge Request"))
    }

    pub(super) fn open_merge_request(
        &mut self,
        project_id: u64,
        author: &User,
        source: &str,
        target: &str,
        title: &str,
        description: &str,
    ) -> Result<u64, Error> {
        let diff = self.diff_between(project_id, source, target)?;
        let ours = || self.merge_requests.values().filter(|it| it.project_id == project_id);
        let twin = ours().find(|it| {
            it.state == MergeState::Opened
                && (it.source_branch.as_str(), it.target_branch.as_str()) == (source, target)
        });
        if let Some(twin) = twin {
            let text = "Another open merge request already exists for this source branch";
            return Err(Error::Conflict(json!([format!("{text}: !{}", twin.iid)])));
        }
        let iid = ours().map(|it| it.iid).max().unwrap_or(0) + 1;
        let now = Timestamp::now();
        let merge_request = MergeRequest {
            id: self.merge_requests.next_id(),
            iid,
            project_id,
            author_id: author.id,
            title: title.to_owned(),
            description: description.to_owned(),
            source_branch: source.to_owned(),
            target_branch: target.to_owned(),
            state: MergeState::Opened,
            versions: vec![Version::new(diff.head.clone())],
            approvals: Vec::new(),
            last_diff: diff,
            created_at: now,
            updated_at: now,
            ended_at: None,
            ended_by: None,
            merge_commit_sha: None,
        };
        self.merge_requests.put(merge_request.id, merge_request)?;
        Ok(iid)
    }

    pub(super) fn close_merge_request(
        &mut self,
        project_id: u64,
        iid: u64,
        user: &User,
    ) -> Result<(), Error> {
        let open = self.expect_state(project_id, iid, MergeState::Opened)?;
        self.end(open, MergeState::Closed, user, None)
    }

    pub(super) fn reopen_merge_request(&mut self, project_id: u64, iid: u64) -> Result<(), Error> {
        let mut closed = self.expect_state(project_id, iid, MergeState::Closed)?;
        closed.state = MergeState::Opened;
        closed.updated_at = Timestamp::now();
        (closed.ended_at, closed.ended_by) = (None, None);
        self.merge_requests.put(closed.id, closed)?;
        Ok(())
    }

    /// Makes the merge commit; a file that both sides changed is a conflict.
    pub(super) fn merge(
        &mut self,
        project_id: u64,
        iid: u64,
        user: &User,
    ) -> Result<String, Error> {
        let open = self.expect_state(project_id, iid, MergeState::Opened)?;
        let Diff { base, head } = self.diff(&open);
        let target = self.resolve(project_id, &open.target_branch)?;
        let base = base.map(|it| self.commits[&it].tree.clone()).unwrap_or_default();
        let theirs = &self.commits[&head].tree;
        let (mut tree, target) = (target.tree.clone(), target.sha.clone());
        let paths: BTreeSet<String> = base.keys().chain(theirs.keys()).cloned().collect();
        for path in paths {
            let (before, after, here) = (base.get(&path), theirs.get(&path), tree.get(&path));
            if after == before || after == here {
                continue;
            }
            if here != before {
                return Err(Error::NotMergeable);
            }
            match after.cloned() {
                Some(blob) => tree.insert(path, blob),
                None => tree.remove(&path),
            };
        }
        let branches = format!("'{}' into '{}'", open.source_branch, open.target_branch);
        let message = format!("Merge branch {branches}\n\n{}", open.title);
        let target_branch = open.target_branch.clone();
        let sha = self.write_commit(project_id, vec![target, head], user, &message, tree)?;
        self.end(open, MergeState::Merged, user, Some(sha.clone()))?;
        self.move_branch(project_id, &target_branch, &sha)?;
        Ok(sha)
    }

    /// What the merge request contains: for an open one it follows the branches.
    pub(super) fn diff(&self, merge_request: &MergeRequest) -> Diff {
        let MergeRequest { project_id, source_branch, target_branch, .. } = merge_request;
        match merge_request.state {
            MergeState::Opened => self
                .diff_between(*project_id, source_branch, target_branch)
                .unwrap_or_else(|_| merge_request.last_diff.clone()),
            MergeState::Closed | MergeState::Merged => merge_request.last_diff.clone(),
        }
    }

    pub(super) fn contains(&self, merge_request: &MergeRequest, sha: &str) -> bool {
        let Diff { base, head } = self.diff(merge_request);
        let before = base.map(|it| self.history(&it)).unwrap_or_default();
        merge_request.merge_commit_sha.as_deref() == Some(sha)
            || (self.history(&head).contains(sha) && !before.contains(sha))
    }

    fn diff_between(&self, project_id: u64, source: &str, target: &str) -> Result<Diff, Error> {
        let branches = &self.project(project_id)?.branches;
        let tip = |side: &str, name: &str| {
            branches.get(name).map(|it| it.sha.clone()).ok_or_else(|| {
                Error::Refused(json!([format!("{side} branch \"{name}\" does not exist")]))
            })
        };
        let (head, target) = (tip("Source", source)?, tip("Target", target)?);
        Ok(Diff { base: self.merge_base(&head, &target), head })
    }

    fn expect_state(
        &self,
        project_id: u64,
        iid: u64,
        state: MergeState,
    ) -> Result<MergeRequest, Error> {
        let merge_request = self.merge_request(project_id, iid)?;
        if merge_request.state == state {
            Ok(merge_request.clone())
        } else {
            Err(Error::NotMergeable)
        }
    }

    fn end(
        &mut self,
        mut open: MergeRequest,
        state: MergeState,
        user: &User,
        merge_commit_sha: Option<String>,
    ) -> Result<(), Error> {
        let now = Timestamp::now();
        open.last_diff = self.diff(&open);
        open.state = state;
        open.updated_at = now;
        (open.ended_at, open.ended_by) = (Some(now), Some(user.id));
        open.merge_commit_sha = merge_commit_sha;
        self.merge_requests.put(open.id, open)?;
        Ok(())
    }
}
