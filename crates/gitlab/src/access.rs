//! What a token may do, as GitLab tells whoever has it.

use jiff::civil::Date;
use serde::Deserialize;

use crate::error::Error;
use crate::http::Client;

/// The token that a client has.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Token {
    /// Such as `api` or `read_api`.
    #[serde(default)]
    pub scopes: Vec<String>,
    /// The day from which on it is not taken any more.
    #[serde(default)]
    pub expires_at: Option<Date>,
}

/// A role in a project, by GitLab's number for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub struct AccessLevel(pub u32);

impl AccessLevel {
    /// Reads code and merge requests.
    pub const REPORTER: Self = Self(20);
    /// Also sets statuses, on branches that are not protected.
    pub const DEVELOPER: Self = Self(30);
    /// Also sets statuses on protected branches.
    pub const MAINTAINER: Self = Self(40);
}

impl Client {
    /// The token itself; of some kinds of tokens GitLab tells nothing (403).
    pub async fn own_token(&self) -> Result<Token, Error> {
        self.get("read the token", "personal_access_tokens/self", &[]).await?.json()
    }

    /// The highest role of the token's user in a project, by way of the project or of its group.
    pub async fn access_level(&self, project_id: u64) -> Result<Option<AccessLevel>, Error> {
        #[derive(Deserialize)]
        struct Project {
            #[serde(default)]
            permissions: Permissions,
        }
        #[derive(Default, Deserialize)]
        struct Permissions {
            project_access: Option<Access>,
            group_access: Option<Access>,
        }
        #[derive(Deserialize)]
        struct Access {
            access_level: AccessLevel,
        }
        let path = format!("projects/{project_id}");
        let project: Project = self.get("read a project", &path, &[]).await?.json()?;
        let Permissions { project_access, group_access } = project.permissions;
        Ok([project_access, group_access].into_iter().flatten().map(|it| it.access_level).max())
    }
}
