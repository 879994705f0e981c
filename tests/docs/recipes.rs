//! The rules of `docs/policies.md`, with the cases behind each.

use std::fs;
use std::process::Command;

use branchline_tests::processes::executable;

use crate::blocks::{blocks, top};

#[test]
fn every_rule_lets_in_and_keeps_out_what_it_says() {
    let blocks: Vec<_> = blocks()
        .into_iter()
        .filter(|it| it.path == "docs/policies.md" && it.language == "yaml")
        .collect();
    let directory = tempfile::tempdir().unwrap();
    for request in fs::read_dir(top().join("examples/requests")).unwrap() {
        let request = request.unwrap();
        fs::copy(request.path(), directory.path().join(request.file_name())).unwrap();
    }
    assert!(blocks.len() >= 16);
    for pair in blocks.chunks(2) {
        let [policy, cases] = pair else { panic!("the last rule has no cases") };
        let place = cases.place();
        assert_eq!((policy.info.as_str(), cases.info.as_str()), ("policy", "cases"), "{place}");
        fs::write(directory.path().join("policy.yaml"), &policy.text).unwrap();
        fs::write(directory.path().join("cases.yaml"), &cases.text).unwrap();
        let mut test = Command::new(executable());
        test.args(["policy", "test", "--policy", "policy.yaml", "cases.yaml"]);
        let ended = test.current_dir(&directory).env_clear().output().unwrap();
        let said = String::from_utf8_lossy(&ended.stdout);
        let error = String::from_utf8_lossy(&ended.stderr);
        assert!(ended.status.success(), "{place}: {said}{error}");
        // At least one each, or nobody knows whether the rule does anything.
        assert!(said.contains(": allowed\n"), "{place}: it lets nobody in\n{said}");
        let kept = [": denied\n", ": needs approval"].iter().any(|it| said.contains(it));
        assert!(kept, "{place}: it keeps nobody out\n{said}");
    }
}
