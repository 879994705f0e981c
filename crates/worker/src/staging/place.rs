//! Where the copies of a run's objects lie. Pure.

use branchline_contract::{Artifact, DirectoryUri, ObjectUri};
use branchline_ledger::Run;

/// The object as the job is to read it, below `<GitLab project id>/<run id>/<artifact name>/`;
/// of a directory, everything keeps its place below that.
pub(super) fn of(bucket: &str, run: &Run, object: &Artifact) -> Result<Artifact, String> {
    let Artifact { name, uri, .. } = object;
    let directory = format!("{}/{}/{name}/", run.request.gitlab.project_id, run.id);
    let below = object.directory.as_ref().and_then(|it| uri.as_str().strip_prefix(it.as_str()));
    let below = below.or_else(|| uri.object().rsplit('/').next()).unwrap_or_default();
    let too_long = |_| format!("artifact {name}: the name of {uri} is too long to be staged");
    let staged = ObjectUri::new(bucket, &format!("{directory}{below}")).map_err(too_long)?;
    let directory = object.directory.as_ref().map(|_| DirectoryUri::new(bucket, &directory));
    let directory = directory.transpose().map_err(too_long)?;
    Ok(Artifact { uri: staged, directory, ..object.clone() })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::testing::{custom_job, request, run};

    fn place(uri: &str, directory: Option<&str>) -> Result<Artifact, String> {
        let mut request = request(&custom_job());
        let object = json!({
            "name": "data", "uri": uri, "directory": directory,
            "generation": 1, "size": 1, "crc32c": "AAAAAA==",
        });
        request.artifacts = vec![serde_json::from_value(object).unwrap()];
        let run = run(&request, vec![]);
        let staged = of("staging", &run, &request.artifacts[0])?;
        let anonymous = json!(staged).to_string().replace(run.id.as_str(), "RUN");
        Ok(serde_json::from_str(&anonymous).unwrap())
    }

    #[test]
    fn a_copy_keeps_its_name_below_a_place_of_its_run_and_artifact() {
        let cases = [
            ("gs://bucket/iris.csv", None, "iris.csv"),
            ("gs://bucket/a/c/iris.csv", None, "iris.csv"),
            ("gs://bucket/a/b c.csv", None, "b c.csv"),
            ("gs://bucket/a/c/iris.csv", Some("gs://bucket/a/"), "c/iris.csv"),
            ("gs://bucket/a/c/iris.csv", Some("gs://bucket/"), "a/c/iris.csv"),
            ("gs://bucket/a//c", Some("gs://bucket/a/"), "/c"),
            ("gs://bucket/a/", Some("gs://bucket/a/"), ""),
            ("gs://bucket/a/", None, ""),
        ];
        for (uri, directory, expected) in cases {
            let staged = place(uri, directory).unwrap();
            let root = "gs://staging/7/RUN/data/";
            assert_eq!(staged.uri.as_str(), format!("{root}{expected}"), "{uri}");
            let staged = staged.directory.map(|it| it.to_string());
            assert_eq!(staged, directory.map(|_| root.to_owned()), "{uri}");
        }
    }

    #[test]
    fn a_name_that_gets_too_long_is_told() {
        let long = "a".repeat(1_000);
        assert!(place(&format!("gs://bucket/{long}"), None).unwrap_err().contains("too long"));
        assert!(place(&format!("gs://bucket/{long}/a"), None).is_ok());
    }
}
