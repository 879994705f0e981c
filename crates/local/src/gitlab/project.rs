//! Projects, their branches and tags.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::error::Error;
use super::state::State;
use super::user::{AccessLevel, User};

#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Project {
    pub(super) id: u64,
    pub(super) path: String,
    pub(super) default_branch: String,
    pub(super) created_at: Timestamp,
    pub(super) branches: BTreeMap<String, Branch>,
    pub(super) tags: BTreeMap<String, String>,
}

#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Branch {
    pub(super) sha: String,
    pub(super) protected: bool,
}

impl Project {
    /// The last part of the path.
    pub(super) fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or(&self.path)
    }

    /// The path without its last part.
    pub(super) fn namespace(&self) -> &str {
        self.path.rsplit_once('/').map_or("", |(namespace, _)| namespace)
    }

    pub(super) fn is_protected(&self, branch: &str) -> bool {
        self.branches.get(branch).is_some_and(|it| it.protected)
    }

    pub(super) fn is_tag(&self, reference: &str) -> bool {
        self.tags.contains_key(reference) && !self.branches.contains_key(reference)
    }

    /// Whether the user may push to, and set statuses on, this ref.
    pub(super) fn may_update(&self, user: &User, reference: &str) -> bool {
        let least = if self.is_protected(reference) {
            AccessLevel::Maintainer
        } else {
            AccessLevel::Developer
        };
        user.access_level >= least
    }
}

impl State {
    /// Creates an empty project; the first commit makes its default branch.
    pub(super) fn create_project(
        &mut self,
        path: &str,
        default_branch: &str,
    ) -> Result<u64, Error> {
        let valid = |it: &str| {
            let bytes = it.as_bytes();
            bytes.first().is_some_and(u8::is_ascii_alphanumeric)
                && bytes.iter().all(|it| it.is_ascii_alphanumeric() || b"-_.".contains(it))
        };
        if path.len() > 255 || !path.contains('/') || !path.split('/').all(valid) {
            let text = "can contain only letters, digits, '_', '-' and '.'";
            return Err(Error::Refused(json!({"path": [text]})));
        }
        if self.projects.values().any(|it| it.path == path) {
            let taken = ["has already been taken"];
            return Err(Error::Refused(json!({"name": taken, "path": taken})));
        }
        let id = self.projects.next_id();
        let project = Project {
            id,
            path: path.to_owned(),
            default_branch: default_branch.to_owned(),
            created_at: Timestamp::now(),
            branches: BTreeMap::new(),
            tags: BTreeMap::new(),
        };
        self.projects.put(id, project)?;
        Ok(id)
    }

    pub(super) fn project(&self, id: u64) -> Result<&Project, Error> {
        self.projects.get(&id).ok_or(Error::NotFound("Project"))
    }

    /// A project by its id or its full path, as the API names it.
    pub(super) fn project_by(&self, id_or_path: &str) -> Result<&Project, Error> {
        match id_or_path.parse() {
            Ok(id) => self.project(id),
            Err(_) => self
                .projects
                .values()
                .find(|it| it.path == id_or_path)
                .ok_or(Error::NotFound("Project")),
        }
    }

    pub(super) fn project_url(&self, project: &Project) -> String {
        format!("{}/{}", self.external_url, project.path)
    }

    /// Points a branch at a commit; the default branch is born protected.
    pub(super) fn move_branch(&mut self, id: u64, branch: &str, sha: &str) -> Result<(), Error> {
        let mut project = self.project(id)?.clone();
        if project.branches.is_empty() {
            branch.clone_into(&mut project.default_branch);
        }
        let protected = branch == project.default_branch || project.is_protected(branch);
        let tip = Branch { sha: sha.to_owned(), protected };
        project.branches.insert(branch.to_owned(), tip);
        self.projects.put(id, project)?;
        self.pushed(id, branch, sha)
    }

    pub(super) fn protect_branch(
        &mut self,
        id: u64,
        branch: &str,
        protected: bool,
    ) -> Result<(), Error> {
        let mut project = self.project(id)?.clone();
        let tip = project.branches.get_mut(branch).ok_or(Error::NotFound("Branch"))?;
        tip.protected = protected;
        self.projects.put(id, project)?;
        Ok(())
    }

    pub(super) fn tag(&mut self, id: u64, name: &str, sha: &str) -> Result<(), Error> {
        self.resolve(id, sha)?;
        let mut project = self.project(id)?.clone();
        project.tags.insert(name.to_owned(), sha.to_owned());
        self.projects.put(id, project)?;
        Ok(())
    }
}
