//! Users, their roles and their tokens.

use serde::{Deserialize, Serialize};

use super::error::Error;
use super::state::State;

/// A role, the same in every project of this instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum AccessLevel {
    /// Is no member of anything, and sees no project.
    None,
    /// Reads code, pipelines and merge requests, and comments on them.
    Reporter,
    /// Also pushes to unprotected branches and sets statuses on their commits.
    Developer,
    /// Also pushes to protected branches and sets statuses on their commits.
    Maintainer,
}

impl AccessLevel {
    /// GitLab's number for it.
    pub(super) const fn number(self) -> u32 {
        match self {
            Self::None => 0,
            Self::Reporter => 20,
            Self::Developer => 30,
            Self::Maintainer => 40,
        }
    }

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Reporter => "reporter",
            Self::Developer => "developer",
            Self::Maintainer => "maintainer",
        }
    }
}

impl TryFrom<u32> for AccessLevel {
    type Error = Error;

    fn try_from(number: u32) -> Result<Self, Error> {
        let members = [Self::Reporter, Self::Developer, Self::Maintainer];
        let found = members.into_iter().find(|it| it.number() == number);
        found.ok_or_else(|| Error::Parameter("access_level does not have a valid value".to_owned()))
    }
}

#[derive(Clone, Serialize, Deserialize)]
pub(super) struct User {
    pub(super) id: u64,
    pub(super) username: String,
    pub(super) name: String,
    pub(super) access_level: AccessLevel,
    pub(super) bot: bool,
    pub(super) token: String,
    /// What the token is for.
    #[serde(default = "whole_api")]
    pub(super) scopes: Vec<String>,
}

fn whole_api() -> Vec<String> {
    vec!["api".to_owned()]
}

impl User {
    pub(super) fn email(&self) -> String {
        format!("{}@noreply.localhost", self.username)
    }
}

/// Who acts when a method of this process stands for a person.
pub(super) const PERSON: u64 = 1;
/// Whose token the roles use.
pub(super) const BOT: u64 = 2;

impl State {
    /// Makes sure that the person and the bot exist.
    pub(super) fn seed_users(&mut self) -> Result<(), Error> {
        if !self.users.contains_key(&PERSON) {
            self.add_user("root", "Administrator", AccessLevel::Maintainer, Kind::Human)?;
        }
        if !self.users.contains_key(&BOT) {
            let name = "Branchline";
            self.add_user("branchline-bot", name, AccessLevel::Maintainer, Kind::Bot)?;
        }
        Ok(())
    }

    pub(super) fn add_user(
        &mut self,
        username: &str,
        name: &str,
        access_level: AccessLevel,
        kind: Kind,
    ) -> Result<String, Error> {
        let user = User {
            id: self.users.next_id(),
            username: username.to_owned(),
            name: name.to_owned(),
            access_level,
            bot: kind == Kind::Bot,
            scopes: whole_api(),
            token: fresh_token(),
        };
        let token = user.token.clone();
        self.users.put(user.id, user)?;
        Ok(token)
    }

    pub(super) fn rotate_token(&mut self, id: u64) -> Result<String, Error> {
        let mut user = self.user(id)?.clone();
        user.token = fresh_token();
        let token = user.token.clone();
        self.users.put(id, user)?;
        Ok(token)
    }

    pub(super) fn user(&self, id: u64) -> Result<&User, Error> {
        self.users.get(&id).ok_or(Error::NotFound("User"))
    }

    pub(super) fn user_by_token(&self, token: &str) -> Option<&User> {
        self.users.values().find(|it| it.token == token)
    }
}

fn fresh_token() -> String {
    let random: String = std::iter::repeat_with(fastrand::alphanumeric).take(20).collect();
    format!("glpat-{random}")
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Human,
    Bot,
}
