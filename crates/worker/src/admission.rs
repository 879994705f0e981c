//! Whether a request may become a run, as far as the request itself tells.
//! Pure, and decided before the first object is read.

use std::collections::BTreeSet;

use branchline_contract::{ArtifactReady, Region};
use branchline_gitlab::id_token::Claims;
use branchline_ledger::{Decided, Grounds, MergeRequest, Wanted};
use branchline_policy::{Approval, Facts, Policy, Verdict, Violation};

use crate::job_body;

const DENIED: &str = "the policy denies it";

/// Every reason against the request, one sentence each, and what was looked at; no reason lets it
/// in, or holds it until it is approved. Of one host at most, merge request approvals can be read.
pub(crate) fn decide(
    request: &ArtifactReady,
    regions: &BTreeSet<Region>,
    policy: &Policy,
    approvals_of: Option<&str>,
    proven: &Claims,
    merge_requests: Option<Vec<MergeRequest>>,
) -> (Vec<String>, Grounds) {
    let mut reasons = violations(request, regions);
    let (claims, groups_direct) = (proven.written(), proven.groups_direct.clone());
    let mut wanted = None;
    let read = branchline_policy::claims(&claims, groups_direct.as_deref());
    let facts = Facts::new(request, Some(&read))
        .and_then(|it| it.with_merge_requests(serde_json::json!(merge_requests)));
    let (decided, rules) = match facts {
        Ok(facts) => {
            let decision = policy.decide(&facts);
            reasons.extend(decision.violations.iter().map(sentence));
            let decided = match decision.verdict {
                Verdict::Allowed => Decided::Allowed,
                Verdict::NeedsApproval(Approval { merge_request, operators: operator }) => {
                    let host = request.gitlab.host.as_str();
                    if merge_request > 0 && approvals_of != Some(host) {
                        reasons.push(format!(
                            "it wants an approval of its merge request, and those of {host} are \
                             not read here"
                        ));
                    }
                    wanted = Some(Wanted { merge_request, operator });
                    Decided::NeedsApproval
                }
                Verdict::Denied => {
                    // Nothing is let in because a reason was not told.
                    if reasons.is_empty() {
                        reasons.push(DENIED.to_owned());
                    }
                    Decided::Denied
                }
            };
            (decided, decision.rules)
        }
        Err(error) => {
            reasons.push(format!("the policy cannot decide: {error}"));
            (Decided::Denied, Vec::new())
        }
    };
    let policy = policy.digest().to_owned();
    (reasons, Grounds { decided, claims, groups_direct, policy, rules, wanted, merge_requests })
}

fn sentence(violation: &Violation) -> String {
    let Violation { rule, message } = violation;
    rule.as_ref().map_or_else(|| message.clone(), |rule| format!("{message} (policy rule {rule})"))
}

fn violations(request: &ArtifactReady, regions: &BTreeSet<Region>) -> Vec<String> {
    let mut found = Vec::new();
    let region = &request.vertex.region;
    if !regions.contains(region) {
        let allowed: Vec<&str> = regions.iter().map(Region::as_str).collect();
        found.push(format!("region {region} is not allowed here; allowed: {}", allowed.join(", ")));
    }
    found.extend(job_body::problems(request));
    found
}
