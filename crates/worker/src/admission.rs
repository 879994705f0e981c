//! Whether a request may become a run, as far as the request itself tells.
//! Pure, and decided before the first object is read.

use std::collections::BTreeSet;

use branchline_contract::{ArtifactReady, Region};

use crate::job_body;

/// Every reason against the request, one sentence each; empty when there is none.
pub(crate) fn violations(request: &ArtifactReady, regions: &BTreeSet<Region>) -> Vec<String> {
    let mut found = Vec::new();
    let region = &request.vertex.region;
    if !regions.contains(region) {
        let allowed: Vec<&str> = regions.iter().map(Region::as_str).collect();
        found.push(format!("region {region} is not allowed here; allowed: {}", allowed.join(", ")));
    }
    found.extend(job_body::problems(request));
    found
}
