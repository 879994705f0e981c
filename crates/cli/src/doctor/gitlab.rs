//! GitLab's side: the keys that its tokens are signed with, and what the roles' own token may do.

use branchline_gitlab::signing_keys::SigningKeys;
use branchline_gitlab::{AccessLevel, Class, Client, Error};
use branchline_service::telemetry::chain;
use jiff::Timestamp;

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
            let today = now.to_zoned(jiff::tz::TimeZone::UTC).date();
            if let Some(day) =
                token.expires_at.filter(|it| *it <= today + jiff::Span::new().days(7))
            {
                let what = format!("the token for {host} expires on {day}");
                found.push(Finding::wrong(
                    "gitlab-expiry",
                    what,
                    "nothing is reported after that",
                    anew,
                ));
            }
        }
        Err(error) => return vec![refused(&error, &host, &anew)],
    }
    let Some(project) = project else { return found };
    match client.access_level(project).await {
        Ok(level) if level >= Some(least) => {}
        Ok(_) => {
            let what = format!("the token's user is not a {} in project {project}", name(least));
            let fix = format!(
                "glab api --method POST projects/{project}/members -f user_id=USER -f access_level={}",
                least.0
            );
            found.push(Finding::wrong(
                "gitlab-role",
                what,
                "GitLab refuses what it is needed for",
                fix,
            ));
        }
        Err(error) if error.class() == Class::NotFound => {
            let what = format!("the token's user does not see project {project}");
            let fix = format!(
                "glab api --method POST projects/{project}/members -f user_id=USER -f access_level={}",
                least.0
            );
            found.push(Finding::wrong("gitlab-role", what, chain(&error), fix));
        }
        Err(error) => {
            let what = format!("the role in project {project} could not be read");
            found.push(Finding::unknown("gitlab-role", what, chain(&error)));
        }
    }
    found
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
