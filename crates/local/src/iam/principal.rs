//! Who calls, and whom a member of a binding means. Pure.

use std::collections::BTreeMap;

/// Google's own name for what a workload identity pool lets in.
const POOLS: &str = "iam.googleapis.com/";

/// Somebody who has proven who they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Principal {
    /// A service account, by its e-mail.
    Account(String),
    /// A person, by their e-mail.
    User(String),
    /// Whom a workload identity pool lets in.
    Federated(Federated),
}

/// What an attribute mapping has made of a foreign token.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Federated {
    /// `projects/NUMBER/locations/global/workloadIdentityPools/POOL`.
    pub(super) pool: String,
    pub(super) subject: String,
    pub(super) groups: Vec<String>,
    /// Of `attribute.NAME`, by the name.
    pub(super) attributes: BTreeMap<String, String>,
}

impl Principal {
    /// As Cloud Storage names them in a refusal.
    pub(super) fn name(&self) -> &str {
        match self {
            Self::Account(email) | Self::User(email) => email,
            Self::Federated(_) => "Caller",
        }
    }
}

impl Federated {
    /// Whether `subject/S`, `group/G`, `attribute.NAME/VALUE` or `*` means them.
    fn is(&self, set: &str, rest: &str) -> bool {
        let Some((kind, value)) = rest.split_once('/') else {
            return set == "principalSet" && rest == "*";
        };
        match (set, kind) {
            ("principal", "subject") => value == self.subject,
            ("principalSet", "group") => self.groups.iter().any(|it| it == value),
            ("principalSet", _) => {
                let attribute = kind.strip_prefix("attribute.");
                attribute.is_some_and(|it| self.attributes.get(it).is_some_and(|it| it == value))
            }
            _ => false,
        }
    }
}

/// Whether a member of a binding means the caller; nobody is an anonymous one.
pub(super) fn means(member: &str, who: Option<&Principal>) -> bool {
    if member == "allUsers" {
        return true;
    }
    let Some(who) = who else { return false };
    if member == "allAuthenticatedUsers" {
        return true;
    }
    let Some((kind, name)) = member.split_once(':') else { return false };
    match who {
        Principal::Account(email) => kind == "serviceAccount" && name == email,
        Principal::User(email) => kind == "user" && name == email,
        Principal::Federated(it) => {
            let rest = name.strip_prefix("//").and_then(|it| it.strip_prefix(POOLS));
            let rest = rest.and_then(|rest| rest.strip_prefix(it.pool.as_str()));
            rest.and_then(|rest| rest.strip_prefix('/')).is_some_and(|rest| it.is(kind, rest))
        }
    }
}

/// Whether this is a member at all.
pub(super) fn is_member(member: &str) -> bool {
    if matches!(member, "allUsers" | "allAuthenticatedUsers") {
        return true;
    }
    let Some((kind, name)) = member.split_once(':') else { return false };
    match kind {
        "serviceAccount" | "user" => name.contains('@'),
        "principal" | "principalSet" => {
            name.strip_prefix("//").is_some_and(|it| it.starts_with(POOLS))
        }
        // Their members are not known here: such a binding gives nobody anything.
        "group" | "domain" | "projectOwner" | "projectEditor" | "projectViewer" => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POOL: &str = "projects/1/locations/global/workloadIdentityPools/gitlab";

    #[test]
    fn a_member_means_whom_it_names_and_nobody_else() {
        let federated = Principal::Federated(Federated {
            pool: POOL.to_owned(),
            subject: "12".to_owned(),
            groups: vec!["ml".to_owned()],
            attributes: [("ref".to_owned(), "refs/heads/main".to_owned())].into(),
        });
        let account = Principal::Account("a@p.iam.gserviceaccount.com".to_owned());
        let user = Principal::User("a@example.org".to_owned());
        let pool = format!("//iam.googleapis.com/{POOL}");
        let everybody = [Some(&federated), Some(&account), Some(&user), None];
        let cases = [
            ("allUsers".to_owned(), [true, true, true, true]),
            ("allAuthenticatedUsers".to_owned(), [true, true, true, false]),
            ("serviceAccount:a@p.iam.gserviceaccount.com".to_owned(), [false, true, false, false]),
            ("user:a@p.iam.gserviceaccount.com".to_owned(), [false; 4]),
            ("user:a@example.org".to_owned(), [false, false, true, false]),
            ("serviceAccount:a@example.org".to_owned(), [false; 4]),
            (format!("principal:{pool}/subject/12"), [true, false, false, false]),
            (format!("principal:{pool}/subject/1"), [false; 4]),
            (format!("principalSet:{pool}/subject/12"), [false; 4]),
            (format!("principalSet:{pool}/*"), [true, false, false, false]),
            (format!("principal:{pool}/*"), [false; 4]),
            (format!("principalSet:{pool}-2/*"), [false; 4]),
            (format!("principalSet:{pool}/group/ml"), [true, false, false, false]),
            (format!("principalSet:{pool}/group/m"), [false; 4]),
            (
                format!("principalSet:{pool}/attribute.ref/refs/heads/main"),
                [true, false, false, false],
            ),
            (format!("principalSet:{pool}/attribute.ref/refs/heads"), [false; 4]),
            (format!("principalSet:{pool}/attribute.other/refs/heads/main"), [false; 4]),
            ("group:ml@example.org".to_owned(), [false; 4]),
        ];
        for (member, expected) in cases {
            assert!(is_member(&member), "{member}");
            assert_eq!(everybody.map(|who| means(&member, who)), expected, "{member}");
        }
    }

    #[test]
    fn what_is_no_member_is_not_taken_for_one() {
        for text in ["", "a@example.org", "users:a@example.org", "user:a", "principal://other/x"] {
            assert!(!is_member(text), "{text}");
        }
    }
}
