//! What a fact says, in one line for people. Pure.

use branchline_contract::{Artifact, ArtifactReady};
use branchline_ledger::{Body, Ending, Grounds};

/// What happened, beside its kind.
pub(crate) fn detail(body: &Body) -> String {
    match body {
        Body::Requested { request, .. } => format!("{} by {}", request.run, asker(request)),
        Body::Verified { contents_read, grounds, staged } => {
            let checked = match contents_read {
                true => "contents compared by SHA-256",
                false => "objects are as announced",
            };
            decided(checked.to_owned() + &copies(staged), grounds.as_deref())
        }
        Body::Approved { by, reason, .. } => format!("by {}: {reason}", by.join(", ")),
        Body::Held { reason }
        | Body::Blocked { reason, .. }
        | Body::CancelRequested { reason, .. }
        | Body::Stalled { reason } => reason.clone(),
        Body::Admitted {} | Body::Running {} | Body::Unblocked {} => String::new(),
        Body::Rejected { reasons, grounds } => decided(reasons.join("; "), grounds.as_deref()),
        Body::Duplicate { ci_job, .. } => format!("by CI job {ci_job}"),
        Body::Intended(it) => format!("one create call, intent {}, output {}", it.nonce, it.output),
        Body::Refused { intent, message } => format!("intent {intent}: {message}"),
        Body::Submitted { intent, job } | Body::Surplus { intent, job } => {
            format!("{job}, intent {intent}")
        }
        Body::Finished(Ending { outcome, reason, model_uri, .. }) => {
            let reason = reason.as_ref().map(|it| format!(": {it}")).unwrap_or_default();
            let model = model_uri.as_ref().map(|it| format!("; model in {it}")).unwrap_or_default();
            format!("{}{reason}{model}", outcome.as_str())
        }
        Body::Retried { request, reason, operator, .. } => match (request, operator) {
            (_, Some(it)) => decided(format!("by {}: {}", it.by, it.reason), Some(&it.grounds)),
            (Some(request), None) => format!("by {}", asker(request)),
            (None, None) => reason.clone().unwrap_or_default(),
        },
    }
}

/// What was found, and on what grounds it was decided.
fn decided(found: String, grounds: Option<&Grounds>) -> String {
    match grounds {
        // As with commits, the beginning tells policies apart; all of it is in the export.
        Some(grounds) => format!("{found}; {grounds} (of policy {:.12})", grounds.policy),
        None => found,
    }
}

/// Where the copies lie that the job reads: the place of one, or what the places of all begin with.
fn copies(staged: &[Artifact]) -> String {
    let Some((first, others)) = staged.split_first() else { return String::new() };
    let first = first.uri.as_str();
    let common = others.iter().fold(first, |common, it| {
        let same = common.bytes().zip(it.uri.as_str().bytes()).take_while(|(a, b)| a == b);
        let directory = common.as_bytes()[..same.count()].iter().rposition(|it| *it == b'/');
        &common[..directory.map_or(0, |it| it + 1)]
    });
    format!(", staged in {common}")
}

fn asker(request: &ArtifactReady) -> String {
    format!("CI job {} of pipeline {}", request.gitlab.job_id, request.gitlab.pipeline_id)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_place_of_copies_is_told() {
        let (root, data) = ("gs://staging/7/iris-0/", "gs://staging/7/iris-0/data/");
        let cases = [
            (vec![], String::new()),
            (vec!["data/a.csv"], format!(", staged in {data}a.csv")),
            (vec!["data/a.csv", "data/a.csv.bak"], format!(", staged in {data}")),
            (vec!["data/ä.csv", "data/ö.csv"], format!(", staged in {data}")),
            (vec!["data/a.csv", "data/b/c.csv", "code/d.sh"], format!(", staged in {root}")),
        ];
        for (names, expected) in cases {
            let artifacts = names.iter().map(|name| {
                json!({
                    "name": "data", "uri": format!("{root}{name}"),
                    "generation": 1, "size": 1, "crc32c": "AAAAAA==",
                })
            });
            let staged = serde_json::from_value(artifacts.collect()).unwrap();
            let verified = Body::Verified { contents_read: false, grounds: None, staged };
            let text = format!("objects are as announced{expected}");
            assert_eq!(detail(&verified), text, "{names:?}");
        }
    }
}
