//! Where a fact lies: `runs/<GitLab project id>/<run id>/<position>.json`. Pure.

use std::fmt;

use branchline_contract::RunId;

/// What the names of all facts begin with.
pub(crate) const FACTS: &str = "runs/";

/// Name of a fact: its run, and its position there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FactName {
    /// GitLab project of the run.
    pub project_id: u64,
    /// The run.
    pub run: RunId,
    /// Position; the first is 0.
    pub position: u32,
}

impl FactName {
    /// The name in an object's, if the object lies where a fact does.
    pub fn parse(object: &str) -> Option<Self> {
        let mut parts = object.strip_prefix(FACTS)?.split('/');
        let (project_id, run, file) = (parts.next()?, parts.next()?, parts.next()?);
        let name = Self {
            project_id: project_id.parse().ok()?,
            run: RunId::parse(run).ok()?,
            position: file.strip_suffix(".json")?.parse().ok()?,
        };
        // `+1` is a number too, but another object's name.
        (name.to_string() == object).then_some(name)
    }
}

impl fmt::Display for FactName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{:06}.json", directory(self.project_id, &self.run), self.position)
    }
}

/// What the names of a run's facts begin with.
pub(crate) fn directory(project_id: u64, run: &RunId) -> String {
    format!("{FACTS}{project_id}/{run}/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_read_again_and_a_strange_one_is_not() {
        let run = RunId::parse("iris-0123456789abcdef0123").unwrap();
        let name = FactName { project_id: 42, run, position: 7 };
        assert_eq!(name.to_string(), "runs/42/iris-0123456789abcdef0123/000007.json");
        assert_eq!(FactName::parse(&name.to_string()), Some(name));
        for strange in [
            "runs/",
            "runs/42/iris-0123456789abcdef0123/7.json",
            "runs/42/iris-0123456789abcdef0123/+00007.json",
            "runs/042/iris-0123456789abcdef0123/000007.json",
            "runs/42/iris-0123456789abcdef0123/000007.json.bak",
            "runs/42/iris-0123456789abcdef0123/000007.json/x",
            "runs/42/iris/000007.json",
            "other/42/iris-0123456789abcdef0123/000007.json",
        ] {
            assert_eq!(FactName::parse(strange), None, "{strange}");
        }
    }
}
