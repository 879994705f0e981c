//! Which dead letters are meant. Pure.

use branchline_contract::RunId;
use branchline_ledger::Filed;
use branchline_service::Reason;
use clap::builder::PossibleValuesParser;
use jiff::Timestamp;

use crate::audit::moment;

/// What all of them have in common.
#[derive(Clone, Debug, Default, clap::Args)]
pub(super) struct Filter {
    /// Why it is one; one of several if given more than once
    #[arg(long, value_name = "REASON", value_parser = PossibleValuesParser::new(Reason::ALL.map(Reason::as_str)))]
    reason: Vec<String>,
    /// What kind of failure
    #[arg(long, value_name = "CLASS", value_parser = ["undecodable", "refused", "transient", "permission", "bug"])]
    class: Vec<String>,
    /// Whose message: worker for requests, notifier for run events
    #[arg(long, value_name = "ROLE", value_parser = ["worker", "notifier"])]
    role: Option<String>,
    /// Path or id of the GitLab project
    #[arg(long, value_name = "PROJECT")]
    project: Option<String>,
    /// The run that it says it is about
    #[arg(long, value_name = "RUN")]
    run: Option<RunId>,
    /// The commit, or its beginning
    #[arg(long, value_name = "SHA")]
    sha: Option<String>,
    /// Only what came since then, such as 2026-11-23 or 2026-11-23T12:00:00Z
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub(super) since: Option<Timestamp>,
    /// Only what came before then
    #[arg(long, value_name = "TIME", value_parser = moment)]
    until: Option<Timestamp>,
    /// Words of its body, its attributes or its reason; every letter left is read for that
    #[arg(long, value_name = "TEXT")]
    pub(super) text: Option<String>,
}

impl Filter {
    /// Whether anything is asked for.
    pub(super) fn is_empty(&self) -> bool {
        let Self { reason, class, role, project, run, sha, since, until, text } = self;
        reason.is_empty()
            && class.is_empty()
            && role.is_none()
            && project.is_none()
            && run.is_none()
            && sha.is_none()
            && since.is_none()
            && until.is_none()
            && text.is_none()
    }

    /// Whether a listing's word on a letter fits, but for the text.
    pub(super) fn matches(&self, it: &Filed) -> bool {
        let one_of = |wanted: &[String], has: &str| {
            wanted.is_empty() || wanted.iter().any(|it| it.as_str() == has)
        };
        let is = |wanted: Option<&String>, has: Option<&str>| {
            wanted.is_none_or(|wanted| has == Some(wanted.as_str()))
        };
        let project_id = it.project_id.map(|it| it.to_string());
        let of_project = is(self.project.as_ref(), it.project.as_deref())
            || is(self.project.as_ref(), project_id.as_deref());
        let has_sha = |wanted: &String| {
            it.sha.as_ref().is_some_and(|it| it.starts_with(&wanted.to_ascii_lowercase()))
        };
        let time = it.first_published.or(it.put_away);
        one_of(&self.reason, &it.reason)
            && one_of(&self.class, &it.class)
            && is(self.role.as_ref(), Some(&it.role))
            && of_project
            && self.run.as_ref().is_none_or(|wanted| it.run.as_ref() == Some(wanted))
            && self.sha.as_ref().is_none_or(has_sha)
            && self.since.is_none_or(|since| time.is_none_or(|it| it >= since))
            && self.until.is_none_or(|until| time.is_none_or(|it| it < until))
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        filter: Filter,
    }

    fn letter() -> Filed {
        Filed {
            id: "20261123T030405000006-17".parse().unwrap(),
            put_away: None,
            reason: "no-token".to_owned(),
            class: "refused".to_owned(),
            detail: String::new(),
            role: "worker".to_owned(),
            topic: String::new(),
            attempts: None,
            first_published: Some("2026-11-23T03:04:05Z".parse().unwrap()),
            run: RunId::parse("iris-0123456789abcdef0123").ok(),
            project: Some("team/iris".to_owned()),
            project_id: Some(7),
            sha: Some("ab".repeat(20)),
            proven: false,
            replays: 0,
            bytes: 0,
            size: 0,
            acts: Vec::new(),
        }
    }

    #[test]
    fn a_letter_is_meant_where_everything_fits() {
        let cases: [(&[&str], bool); 17] = [
            (&[], true),
            (&["--reason", "no-token"], true),
            (&["--reason", "panic", "--reason", "no-token"], true),
            (&["--reason", "panic"], false),
            (&["--class", "refused"], true),
            (&["--class", "bug"], false),
            (&["--role", "notifier"], false),
            (&["--project", "team/iris"], true),
            (&["--project", "7"], true),
            (&["--project", "team"], false),
            (&["--run", "iris-0123456789abcdef0123"], true),
            (&["--run", "iris-0123456789abcdef0124"], false),
            (&["--sha", "ABAB"], true),
            (&["--sha", "ba"], false),
            (&["--since", "2026-11-23", "--until", "2026-11-24"], true),
            (&["--since", "2026-11-24"], false),
            (&["--until", "2026-11-23"], false),
        ];
        for (args, expected) in cases {
            let cli = Cli::parse_from(std::iter::once(&"dlq").chain(args));
            assert_eq!(cli.filter.matches(&letter()), expected, "{args:?}");
            assert_eq!(cli.filter.is_empty(), args.is_empty(), "{args:?}");
        }
        assert!(Cli::try_parse_from(["dlq", "--reason", "misspelt"]).is_err());
        let mut unknown = letter();
        (unknown.project, unknown.project_id, unknown.sha) = (None, None, None);
        for args in [["--project", "7"], ["--sha", "ab"]] {
            let cli = Cli::parse_from(std::iter::once("dlq").chain(args));
            assert!(!cli.filter.matches(&unknown), "{args:?}");
        }
    }
}
