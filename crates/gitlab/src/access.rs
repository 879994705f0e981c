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

/// The user whom a token stands for.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct User {
    /// Its number.
    pub id: u64,
    /// Whether it is a project's or a group's token, which nobody gives another role.
    #[serde(default)]
    pub bot: bool,
}

/// What a user is in a project.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Membership {
    /// The highest role; none for who is no member.
    pub level: Option<AccessLevel>,
    /// Whether it is a member of the project itself, and not of a group alone.
    pub is_own: bool,
    /// The project's default branch; none where nothing was pushed yet.
    pub default_branch: Option<String>,
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

    /// Whose token it is.
    pub async fn own_user(&self) -> Result<User, Error> {
        self.get("read the user", "user", &[]).await?.json()
    }

    /// What the token's user is in a project, by way of the project or of its group.
    pub async fn membership(&self, project_id: u64) -> Result<Membership, Error> {
        #[derive(Deserialize)]
        struct Project {
            #[serde(default)]
            permissions: Permissions,
            #[serde(default)]
            default_branch: Option<String>,
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
        let is_own = project_access.is_some();
        let all = [project_access, group_access].into_iter().flatten().map(|it| it.access_level);
        Ok(Membership { level: all.max(), is_own, default_branch: project.default_branch })
    }

    /// The least role that sets statuses on a branch.
    pub async fn status_level(&self, project_id: u64, name: &str) -> Result<AccessLevel, Error> {
        #[derive(Deserialize)]
        struct Branch {
            protected: bool,
            #[serde(default)]
            developers_can_push: bool,
            #[serde(default)]
            developers_can_merge: bool,
        }
        let plain = |it: u8| it.is_ascii_alphanumeric() || b"-._~".contains(&it);
        let encode = |it| if plain(it) { char::from(it).into() } else { format!("%{it:02X}") };
        let encoded: String = name.bytes().map(encode).collect();
        let path = format!("projects/{project_id}/repository/branches/{encoded}");
        let branch: Branch = self.get("read a branch", &path, &[]).await?.json()?;
        let open = !branch.protected || branch.developers_can_push || branch.developers_can_merge;
        Ok(if open { AccessLevel::DEVELOPER } else { AccessLevel::MAINTAINER })
    }
}
