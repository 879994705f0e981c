//! What a fact says, in one line for people. Pure.

use branchline_contract::ArtifactReady;
use branchline_ledger::{Body, Grounds};

/// What happened, beside its kind.
pub(crate) fn detail(body: &Body) -> String {
    match body {
        Body::Requested { request, .. } => format!("{} by {}", request.run, asker(request)),
        Body::Verified { contents_read, grounds } => {
            let checked = match contents_read {
                true => "contents compared by SHA-256",
                false => "objects are as announced",
            };
            decided(checked.to_owned(), grounds.as_deref())
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
        Body::Finished { outcome, reason, model_uri, .. } => {
            let reason = reason.as_ref().map(|it| format!(": {it}")).unwrap_or_default();
            let model = model_uri.as_ref().map(|it| format!("; model in {it}")).unwrap_or_default();
            format!("{}{reason}{model}", outcome.as_str())
        }
        Body::Retried { request, reason, .. } => {
            let asked = request.as_ref().map(|it| format!("by {}", asker(it)));
            asked.or_else(|| reason.clone()).unwrap_or_default()
        }
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

fn asker(request: &ArtifactReady) -> String {
    format!("CI job {} of pipeline {}", request.gitlab.job_id, request.gitlab.pipeline_id)
}
