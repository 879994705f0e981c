//! Commits and the files in them. Not a git server: a commit's id is a digest of
//! its content, and looks like git's without being one.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::json;
use sha2::{Digest, Sha256};

use super::error::Error;
use super::state::State;
use super::user::User;

#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Commit {
    pub(super) sha: String,
    pub(super) project_id: u64,
    pub(super) parents: Vec<String>,
    /// The length of the longest way back to a first commit: newer is deeper.
    pub(super) depth: u64,
    pub(super) message: String,
    pub(super) author_name: String,
    pub(super) author_email: String,
    pub(super) created_at: Timestamp,
    /// Blob ids by path.
    pub(super) tree: BTreeMap<String, String>,
}

impl Commit {
    pub(super) fn title(&self) -> &str {
        self.message.lines().next().unwrap_or_default()
    }
}

#[derive(Serialize, Deserialize)]
pub(super) struct Blob {
    base64: String,
}

/// New content by path; `None` removes the file.
pub(super) type Changes = BTreeMap<String, Option<Vec<u8>>>;

impl State {
    /// Commits changes on top of the branch, or of `start` when there is none yet.
    pub(super) fn commit(
        &mut self,
        project_id: u64,
        branch: &str,
        start: Option<&str>,
        author: &User,
        message: &str,
        changes: Changes,
    ) -> Result<String, Error> {
        check_branch_name(branch)?;
        let project = self.project(project_id)?;
        let parent = match project.branches.get(branch) {
            Some(tip) => Some(tip.sha.clone()),
            None if project.branches.is_empty() => None,
            None => {
                let start = start.ok_or_else(|| refused(ONLY_ON_A_BRANCH))?;
                Some(self.resolve(project_id, start)?.sha.clone())
            }
        };
        let mut tree = match &parent {
            Some(sha) => self.commits[sha].tree.clone(),
            None => BTreeMap::new(),
        };
        for (path, content) in changes {
            check_path(&path)?;
            match content {
                Some(content) => tree.insert(path, self.write_blob(&content)?),
                None => tree.remove(&path),
            };
        }
        let parents = parent.into_iter().collect();
        let sha = self.write_commit(project_id, parents, author, message, tree)?;
        self.move_branch(project_id, branch, &sha)?;
        Ok(sha)
    }

    pub(super) fn write_commit(
        &mut self,
        project_id: u64,
        parents: Vec<String>,
        author: &User,
        message: &str,
        tree: BTreeMap<String, String>,
    ) -> Result<String, Error> {
        let content = json!([project_id, parents, author.username, message, tree]);
        let sha = digest(content.to_string().as_bytes());
        let depth = parents.iter().map(|it| self.commits[it].depth).max().unwrap_or(0) + 1;
        let commit = Commit {
            sha: sha.clone(),
            depth,
            project_id,
            parents,
            message: message.to_owned(),
            author_name: author.name.clone(),
            author_email: author.email(),
            created_at: Timestamp::now(),
            tree,
        };
        if !self.commits.contains_key(&sha) {
            self.commits.put(sha.clone(), commit)?;
        }
        Ok(sha)
    }

    fn write_blob(&mut self, content: &[u8]) -> Result<String, Error> {
        let id = digest(content);
        if !self.blobs.contains_key(&id) {
            let blob = Blob { base64: BASE64_STANDARD.encode(content) };
            self.blobs.put(id.clone(), blob)?;
        }
        Ok(id)
    }

    /// The commit that a full sha, a branch, a tag or a short sha names.
    pub(super) fn resolve(&self, project_id: u64, name: &str) -> Result<&Commit, Error> {
        let project = self.project(project_id)?;
        let branch = project.branches.get(name).map(|it| &it.sha);
        let sha = branch.or_else(|| project.tags.get(name)).map_or(name, String::as_str);
        let exact = self.commits.get(sha).filter(|it| it.project_id == project_id);
        let short = || {
            let mut commits = self.commits.values().filter(|it| it.project_id == project_id);
            commits.find(|it| sha.len() >= 7 && it.sha.starts_with(sha))
        };
        exact.or_else(short).ok_or(Error::NotFound("Commit"))
    }

    pub(super) fn read_file(
        &self,
        project_id: u64,
        name: &str,
        path: &str,
    ) -> Result<Vec<u8>, Error> {
        let commit = self.resolve(project_id, name)?;
        let blob = commit.tree.get(path).ok_or(Error::NotFound("File"))?;
        self.read_blob(blob)
    }

    fn read_blob(&self, id: &str) -> Result<Vec<u8>, Error> {
        let blob = self.blobs.get(id).ok_or(Error::NotFound("Blob"))?;
        let content = BASE64_STANDARD.decode(&blob.base64);
        content.map_err(|error| Error::Store(std::io::Error::other(error)))
    }

    /// Writes the commit's files into a directory, as a runner does.
    pub(super) fn checkout(&self, project_id: u64, sha: &str, dir: &Path) -> Result<(), Error> {
        for (path, blob) in &self.resolve(project_id, sha)?.tree {
            let target = dir.join(path);
            fs::create_dir_all(target.parent().unwrap_or(dir))?;
            fs::write(target, self.read_blob(blob)?)?;
        }
        Ok(())
    }

    /// The commit and everything before it.
    pub(super) fn history(&self, sha: &str) -> BTreeSet<String> {
        let (mut seen, mut next) = (BTreeSet::new(), vec![sha.to_owned()]);
        while let Some(sha) = next.pop() {
            if let Some(commit) = self.commits.get(&sha)
                && seen.insert(sha)
            {
                next.extend(commit.parents.iter().cloned());
            }
        }
        seen
    }

    /// The newest commit that both have in common.
    pub(super) fn merge_base(&self, one: &str, other: &str) -> Option<String> {
        let (one, other) = (self.history(one), self.history(other));
        one.intersection(&other).max_by_key(|sha| self.commits[*sha].depth).cloned()
    }

    /// The first branch, by name, that contains the commit.
    pub(super) fn branch_containing(&self, project_id: u64, sha: &str) -> Option<String> {
        let branches = &self.project(project_id).ok()?.branches;
        let found = branches.iter().find(|(_, tip)| self.history(&tip.sha).contains(sha));
        found.map(|(name, _)| name.clone())
    }
}

const ONLY_ON_A_BRANCH: &str = "You can only create or edit files when you are on a branch";

fn refused(text: &str) -> Error {
    Error::Refused(text.into())
}

fn check_branch_name(name: &str) -> Result<(), Error> {
    let bad = |it: char| it.is_control() || " ~^:?*[\\".contains(it);
    let valid = (1..=255).contains(&name.len()) && !name.contains(bad) && !name.starts_with('-');
    valid.then_some(()).ok_or_else(|| refused("Branch name is invalid"))
}

/// Also what keeps a checkout inside its directory.
fn check_path(path: &str) -> Result<(), Error> {
    let part_is_valid =
        |it: &str| !["", ".", "..", ".git"].contains(&it) && !it.contains(['\\', '\0']);
    let valid = path.len() <= 4096 && path.split('/').all(part_is_valid);
    valid.then_some(()).ok_or_else(|| refused("path contains invalid characters"))
}

fn digest(content: &[u8]) -> String {
    let mut text = hex::encode(Sha256::digest(content));
    text.truncate(40);
    text
}
