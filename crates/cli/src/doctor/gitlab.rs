//! GitLab's side: the keys that its tokens are signed with, and what the roles' own token may do.

use branchline_gitlab::signing_keys::SigningKeys;
use branchline_gitlab::{AccessLevel, Class, Client, Error};
use branchline_service::telemetry::chain;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};

use super::finding::Finding;

/// Whether the keys of every issuer can be had.
pub(crate) async fn keys(keys: &SigningKeys) -> Vec<Finding> {
    let reached = keys.reach().await.into_iter();
    let found = reached.filter_map(|(issuer, reached)| {
        let error = reached.err()?;
        let fix = format!(
            "curl --fail {issuer}/oauth/discovery/keys >jwks.json\n\
             # in worker.yaml\nidentity: {{issuers: [{{issuer: '{issuer}', jwks_file: jwks.json}}]}}"
        );
        let what = format!("the signing keys of {issuer} cannot be had");
        Some(Finding::wrong("issuer-keys", what, chain(&error), fix))
    });
    found.collect()
}

/// What the token may do: in GitLab, and in a project if one is named.
pub(crate) async fn token(
    client: &Client,
    project: Option<u64>,
    scope: &str,
    least: AccessLevel,
    now: Timestamp,
) -> Vec<Finding> {
    let host = client.host().to_owned();
    let page = format!("https://{host}/-/user_settings/personal_access_tokens");
    let anew = format!(
        "# make a token with the scope {scope} at {page}\nexport BRANCHLINE_GITLAB_TOKEN=…"
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
    let mut wrong = |what: String, why: String| {
        let fix = format!(
            "glab api --method POST projects/{project}/members -f user_id=USER -f access_level={}",
            least.0
        );
        found.push(Finding::wrong("gitlab-role", what, why, fix));
    };
    match client.access_level(project).await {
        Ok(level) if level >= Some(least) => {}
        Ok(_) => wrong(
            format!("the token's user is not a {} in project {project}", name(least)),
            "GitLab refuses what it is needed for".to_owned(),
        ),
        Err(error) if error.class() == Class::NotFound => {
            wrong(format!("the token's user does not see project {project}"), chain(&error));
        }
        Err(error) => {
            let what = format!("the role in project {project} could not be read");
            found.push(Finding::unknown("gitlab-role", what, chain(&error)));
        }
    }
    found
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
        _ => Finding::unknown(
            "gitlab-token",
            format!("{host} tells nothing of the token"),
            chain(error),
        ),
    }
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
