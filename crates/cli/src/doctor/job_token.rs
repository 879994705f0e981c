//! A token as a CI job holds it, decoded and not proven: what it says is shown, the token never.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use branchline_policy::federation::Claims;
use jiff::Timestamp;

use super::finding::Finding;

/// How far a clock may be off.
const SKEW_MAX_SECS: i64 = 60;
/// Google takes no token that was issued before.
const AGE_MAX_SECS: i64 = 24 * 60 * 60;

/// The claims of a token, or that it is none.
pub(crate) fn decode(token: &str) -> Option<Claims> {
    let [_, claims, _] = token.split('.').collect::<Vec<_>>()[..] else { return None };
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(claims).ok()?;
    serde_json::from_slice(&bytes).ok()
}

/// For whom it is.
pub(crate) fn audiences(claims: &Claims) -> Vec<String> {
    match claims.get("aud") {
        Some(serde_json::Value::Array(all)) => {
            all.iter().filter_map(|it| it.as_str().map(str::to_owned)).collect()
        }
        Some(one) => one.as_str().map(str::to_owned).into_iter().collect(),
        None => Vec::new(),
    }
}

/// A claim as a text.
pub(crate) fn text<'a>(claims: &'a Claims, name: &str) -> &'a str {
    claims.get(name).and_then(|it| it.as_str()).unwrap_or_default()
}

/// Whether it is the job of a fork's merge request, which runs in the project's name: the project in
/// the token is the fork then, and whatever its author likes.
pub(crate) fn is_fork(claims: &Claims) -> bool {
    claims.get("job_project_id").is_some_and(|it| claims.get("project_id") != Some(it))
}

/// A token has to be for one audience. `name` is the variable that it comes in.
pub(crate) fn audience(name: &str, claims: &Claims, expected: &str) -> Option<Finding> {
    let found = audiences(claims);
    if found == [expected] {
        return None;
    }
    let found = if found.is_empty() { "nobody".to_owned() } else { found.join(", ") };
    Some(Finding::wrong(
        "audience",
        format!("{name} is for {found}, and not for {expected}"),
        "a token is believed by its audience only",
        wanted(name, expected),
    ))
}

/// What a job writes to get a token.
pub(crate) fn wanted(name: &str, audience: &str) -> String {
    format!("# in .gitlab-ci.yml, in the job\nid_tokens:\n  {name}:\n    aud: {audience}")
}

/// A token has to be valid now, by a clock that is right.
pub(crate) fn time(name: &str, claims: &Claims, now: Timestamp) -> Option<Finding> {
    let at = |claim: &str| claims.get(claim).and_then(serde_json::Value::as_i64);
    let (issued, expires) = (at("iat")?, at("exp")?);
    let now = now.as_second();
    if issued - now > SKEW_MAX_SECS {
        return Some(Finding::wrong(
            "clock",
            format!("{name} was issued {} s in the future", issued - now),
            "the clock of GitLab is ahead of this one, or this one is behind",
            "sudo chronyc makestep   # on whichever of the two is wrong: GitLab's host, or the runner's",
        ));
    }
    (now - expires > 0).then(|| {
        Finding::wrong(
            "expired",
            format!("{name} expired {} s ago", now - expires),
            "a token lives as long as its job may run",
            "# in .gitlab-ci.yml, in the job\ntimeout: 2h",
        )
    })
}

/// Google takes no token that is older, however long its job may run.
pub(crate) fn age(name: &str, claims: &Claims, now: Timestamp) -> Option<Finding> {
    let issued = claims.get("iat")?.as_i64()?;
    (now.as_second() - issued > AGE_MAX_SECS + SKEW_MAX_SECS).then(|| {
        Finding::wrong(
            "expired",
            format!("{name} was issued more than 24 h ago"),
            "Google takes no token that is older, however long its job may run",
            "# publish in a job of its own, whose token is new",
        )
    })
}

/// A clock that differs from Google's, as its answers tell it.
pub(crate) fn clock(ahead: i64) -> Option<Finding> {
    let is = if ahead > 0 { "ahead of" } else { "behind" };
    (ahead.abs() > SKEW_MAX_SECS).then(|| {
        Finding::wrong(
            "clock",
            format!("this clock is {} s {is} Google's", ahead.abs()),
            "tokens are taken for expired, or for not valid yet",
            "sudo chronyc makestep",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_may_differ_by_a_minute() {
        for (ahead, told) in [(0, false), (60, false), (-60, false), (61, true), (-61, true)] {
            assert_eq!(clock(ahead).is_some(), told, "{ahead}");
        }
    }
}
