//! What `deploy/grants.yaml` gives, permission by permission, and how one is taken away again.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use branchline_local::installation::PROJECT;
use branchline_local::stack::Stack;
use branchline_tests::roles::grant_these;
use serde::Deserialize;
use serde_json::{Value, json};

const GRANTS: &str = include_str!("../../deploy/grants.yaml");

/// A permission of one part of an installation on one thing.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Right {
    pub(crate) party: String,
    pub(crate) on: String,
    pub(crate) permission: String,
}

#[derive(Deserialize)]
struct Grant {
    on: String,
    permissions: Vec<String>,
}

impl Right {
    pub(crate) fn new(party: &str, on: &str, permission: &str) -> Self {
        let [party, on, permission] = [party, on, permission].map(str::to_owned);
        Self { party, on, permission }
    }

    /// A custom role that holds what the part has on the thing.
    fn role(&self) -> String {
        format!("projects/{PROJECT}/roles/{}_{}", self.party, self.on)
    }
}

impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.party, self.on, self.permission)
    }
}

/// All that is given.
pub(crate) fn all() -> BTreeSet<Right> {
    let parts: BTreeMap<String, Vec<Grant>> = serde_saphyr::from_str(GRANTS).expect("it is YAML");
    let mut rights = BTreeSet::new();
    for (party, grants) in &parts {
        for Grant { on, permissions } in grants {
            for permission in permissions {
                let right = Right::new(party, on, permission);
                assert!(rights.insert(right.clone()), "{right} is given twice");
            }
        }
    }
    rights
}

/// Gives everybody the permissions that are listed, and none that a predefined role has besides.
pub(crate) fn give(stack: &Stack) {
    let rights = all();
    let mut parts = BTreeMap::<&str, BTreeMap<&str, Value>>::new();
    for right in &rights {
        put_role(stack, right, None);
        let grant = json!({"on": right.on, "role": right.role()});
        parts.entry(&right.party).or_default().insert(&right.on, grant);
    }
    let parts: BTreeMap<_, Vec<_>> =
        parts.into_iter().map(|(part, grants)| (part, grants.into_values().collect())).collect();
    grant_these(stack, &json!(parts).to_string());
}

/// Takes one of them from whoever has it.
pub(crate) fn take(stack: &Stack, right: &Right) {
    put_role(stack, right, Some(right));
}

/// The role of whoever has that right, without another one.
fn put_role(stack: &Stack, of: &Right, without: Option<&Right>) {
    let rights = all();
    let rights = rights.iter().filter(|it| it.role() == of.role() && Some(*it) != without);
    let permissions: Vec<&str> = rights.map(|it| it.permission.as_str()).collect();
    stack.iam.put_role(&of.role(), &permissions);
}
