//! Resource names of jobs, taken apart. Nothing that could change the address
//! of a request gets through.

use crate::error::{Error, Result};
use branchline_contract::JobKind;

/// `projects/{project}/locations/{region}/{collection}/{id}`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct JobName<'a> {
    pub(super) project: &'a str,
    pub(super) region: &'a str,
    pub(super) id: &'a str,
}

impl<'a> JobName<'a> {
    pub(super) fn parse(kind: JobKind, name: &'a str) -> std::result::Result<Self, String> {
        let parts: Vec<_> = name.split('/').collect();
        let collection = kind.collection();
        match parts.as_slice() {
            ["projects", project, "locations", region, of, id]
                if *of == collection && is_project(project) && is_id(region) && is_id(id) =>
            {
                Ok(Self { project, region, id })
            }
            _ => Err(format!("`{name}` is not projects/PROJECT/locations/REGION/{collection}/ID")),
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
        let job = JobName { project: "example.com:p-1", region: "europe-west4", id: "123" };
        assert_eq!(JobName::parse(JobKind::CustomJob, name), Ok(job));
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
            let why = JobName::parse(JobKind::CustomJob, name).unwrap_err();
            assert!(
                why.contains("is not projects/PROJECT/locations/REGION/customJobs/ID"),
                "{why}"
            );
        }
    }
}
