//! GitLab's side: the keys that its tokens are signed with, and what the roles' own token may do.

use branchline_gitlab::signing_keys::{Issuer, SigningKeys};
use branchline_gitlab::{AccessLevel, Class, Client, Error};
use branchline_service::telemetry::chain;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};

use super::finding::Finding;
use super::quote::quote;

/// The check that a GitLab answers.
pub(crate) const SILENT: &str = "gitlab";

/// What a role's token has to be good for.
pub(crate) struct Wants {
    /// Such as `api`.
    pub scope: &'static str,
    /// The role in a project, as far as its branches are not protected.
    pub least: AccessLevel,
    /// Whether it sets statuses, which GitLab lets maintainers alone do on protected branches.
    pub sets_statuses: bool,
}

/// Whether the keys of every issuer can be had.
pub(crate) async fn keys(keys: &SigningKeys, issuers: &[Issuer]) -> Vec<Finding> {
    let reached = keys.reach().await.into_iter();
    let found = reached.filter_map(|(issuer, reached)| {
        let error = reached.err()?;
        let what = format!("the signing keys of {issuer} cannot be had");
        let configured = issuers.iter().find(|it| it.issuer == issuer)?;
        Some(Finding::wrong("issuer-keys", what, chain(&error), keys_anew(configured)))
    });
    found.collect()
}

fn keys_anew(Issuer { issuer, jwks_file, jwks_uri, .. }: &Issuer) -> String {
    let fetch = |file: &str| {
        let url = quote(&format!("{issuer}/oauth/discovery/keys"));
        format!("# where it can be reached\ncurl --fail {url} >{}", quote(file))
    };
    match (jwks_file, jwks_uri) {
        (Some(file), _) => fetch(&file.display().to_string()),
        (None, Some(uri)) => format!("# make {uri} answer, or give the worker a jwks_file instead"),
        (None, None) => format!(
            "{}\n# in worker.yaml, beside `issuer: {issuer}`\njwks_file: jwks.json",
            fetch("jwks.json")
        ),
    }
}

/// What the token may do: in GitLab, and in a project if one is named.
pub(crate) async fn token(
    client: &Client,
    project: Option<u64>,
    wants: &Wants,
    now: Timestamp,
) -> Vec<Finding> {
    let (host, scope) = (client.host().to_owned(), wants.scope);
    let anew = format!(
        "# make a token with the scope {scope}, at \
         https://{host}/-/user_settings/personal_access_tokens, and give it to the role"
    );
    let mut found = Vec::new();
    match client.own_token().await {
        Ok(token) => {
            if !token.scopes.iter().any(|it| it == scope || it == "api") {
                let scopes = token.scopes.join(", ");
                let what = format!("the token for {host} has the scope {scopes}, and not {scope}");
                found.push(Finding::wrong(
                    "gitlab-scope",
                    what,
                    "GitLab refuses what it is needed for",
                    anew.clone(),
                ));
            }
            found.extend(expiry(token.expires_at, now, &host, &anew));
        }
        Err(error) => return vec![refused(&error, &host, &anew)],
    }
    let Some(project) = project else { return found };
    match role(client, project, wants).await {
        Ok(more) => found.extend(more),
        Err(error) => {
            let what = format!("the role in project {project} could not be read");
            found.push(Finding::unknown("gitlab-role", what, chain(&error)));
        }
    }
    found
}

/// Whether the token's user may do in a project what is wanted.
async fn role(client: &Client, project: u64, wants: &Wants) -> Result<Option<Finding>, Error> {
    let user = client.own_user().await?;
    let raise = |is_member: bool, level: AccessLevel| {
        if user.bot {
            let name = name(level);
            return format!(
                "# a bot's role cannot be changed: make it a token with the role {name}"
            );
        }
        let (host, AccessLevel(level)) = (quote(client.host()), level);
        let members = format!("projects/{project}/members");
        let call = if is_member {
            format!("--method PUT {members}/{}", user.id)
        } else {
            format!("--method POST {members} -f user_id={}", user.id)
        };
        format!(
            "# by an owner, for whoever has the token may do more then\n\
             glab api --hostname {host} {call} -f access_level={level}"
        )
    };
    let member = match client.membership(project).await {
        Ok(member) => member,
        Err(error) if error.class() == Class::NotFound => {
            let what = format!("the token's user does not see project {project}");
            let fix = raise(false, wants.least);
            return Ok(Some(Finding::wrong("gitlab-role", what, chain(&error), fix)));
        }
        Err(error) => return Err(error),
    };
    let (mut needs, mut why) = (wants.least, "GitLab refuses what it is needed for".to_owned());
    if let Some(branch) = member.default_branch.filter(|_| wants.sets_statuses) {
        let level = client.status_level(project, &branch).await?;
        if level > needs {
            needs = level;
            why = format!(
                "GitLab takes no status of others on the protected branch {branch}, so the commits \
                 of its runs show nothing"
            );
        }
    }
    let enough = member.level >= Some(needs);
    Ok((!enough).then(|| {
        let what = format!("the token's user is not a {} in project {project}", name(needs));
        Finding::wrong("gitlab-role", what, why, raise(member.is_own, needs))
    }))
}

/// A token that ends soon.
fn expiry(day: Option<Date>, now: Timestamp, host: &str, anew: &str) -> Option<Finding> {
    let soon = now.to_zoned(TimeZone::UTC).date() + Span::new().days(7);
    let day = day.filter(|it| *it <= soon)?;
    let what = format!("the token for {host} expires on {day}");
    Some(Finding::wrong("gitlab-expiry", what, "GitLab takes it no more after that", anew))
}

fn refused(error: &Error, host: &str, anew: &str) -> Finding {
    match error {
        Error::Status { status: 401, .. } => Finding::wrong(
            "gitlab-token",
            format!("{host} does not take the token"),
            chain(error),
            anew,
        ),
        Error::Unanswered { .. } => silent(host, chain(error)),
        _ => Finding::unknown(
            "gitlab-token",
            format!("{host} tells nothing of the token"),
            chain(error),
        ),
    }
}

/// A GitLab that says nothing.
pub(crate) fn silent(host: &str, why: String) -> Finding {
    Finding::unknown(SILENT, format!("{host} does not answer"), why)
}

const fn name(level: AccessLevel) -> &'static str {
    match level {
        AccessLevel::REPORTER => "Reporter",
        AccessLevel::MAINTAINER => "Maintainer",
        _ => "Developer",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_that_ends_within_a_week_is_told() {
        let now: Timestamp = "2026-11-24T23:59:00Z".parse().unwrap();
        let cases = [
            (None, false),
            (Some("2026-11-23"), true),
            (Some("2026-12-01"), true),
            (Some("2026-12-02"), false),
        ];
        for (day, told) in cases {
            let found = expiry(day.map(|it| it.parse().unwrap()), now, "gitlab.com", "anew");
            assert_eq!(found.is_some(), told, "{day:?}");
        }
    }
}
