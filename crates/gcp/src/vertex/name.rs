//! Resource names of jobs, taken apart. Nothing that could change the address
//! of a request gets through.

use crate::error::{Error, Result};
use branchline_contract::JobKind;

/// The region in `projects/PROJECT/locations/REGION/COLLECTION/ID`.
pub(super) fn region<'a>(doing: &str, kind: JobKind, name: &'a str) -> Result<&'a str> {
    let parts: Vec<_> = name.split('/').collect();
    let collection = kind.collection();
    match parts.as_slice() {
        ["projects", project, "locations", region, of, id]
            if *of == collection && is_project(project) && is_id(region) && is_id(id) =>
        {
            Ok(region)
        }
        _ => {
            let shape = format!("projects/PROJECT/locations/REGION/{collection}/ID");
            Err(Error::refused(doing, format!("`{name}` is not {shape}")))
        }
    }
}

/// Refuses a project or region that is not one.
pub(super) fn check(doing: &str, project: &str, region: &str) -> Result<()> {
    if !is_project(project) {
        return Err(Error::refused(doing, format!("`{project}` is not a project id")));
    }
    if !is_id(region) {
        return Err(Error::refused(doing, format!("`{region}` is not a region")));
    }
    Ok(())
}

/// Old projects may belong to a domain, `example.com:project`.
fn is_project(text: &str) -> bool {
    is_id(&text.replace([':', '.'], "-"))
}

fn is_id(text: &str) -> bool {
    let fits = |it: char| it.is_ascii_alphanumeric() || it == '-';
    (1..=128).contains(&text.len()) && text.chars().all(fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_name_says_its_region() {
        let name = "projects/example.com:p-1/locations/europe-west4/customJobs/123";
        assert_eq!(region("doing", JobKind::CustomJob, name).unwrap(), "europe-west4");
    }

    #[test]
    fn a_name_of_another_kind_or_shape_is_refused() {
        for name in [
            "",
            "projects/p/locations/r/pipelineJobs/1",
            "projects/p/locations/r/customJobs",
            "projects/p/locations/r/customJobs/",
            "projects/p/locations/r/customJobs/1/",
            "projects/p/locations/evil.example%2F/customJobs/1",
            "projects/p/locations/evil.example/customJobs/1",
            "projects/p/locations/r/customJobs/1:cancel",
        ] {
            let why = region("doing", JobKind::CustomJob, name).unwrap_err().message();
            let expected = "is not projects/PROJECT/locations/REGION/customJobs/ID";
            assert!(why.ends_with(expected), "{why}");
        }
    }
}
