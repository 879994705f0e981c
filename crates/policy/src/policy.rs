//! A policy as it is written, and what it decides. Pure.

use std::collections::BTreeSet;
use std::sync::Arc;

use branchline_contract::Sha256;
use cel::{Context, Env};
use serde::{Deserialize, Deserializer};

use crate::expression::{self, Expression, Patterns};
use crate::facts::Facts;

/// Bytes of a policy.
pub const TEXT_MAX: usize = 1 << 20;
/// Rules of a policy.
pub const RULES_MAX: usize = 2_000;
/// Validations of one rule.
pub const VALIDATIONS_MAX: usize = 100;
/// After this many violations the rest is not told. So with what is wrong in a policy.
pub const VIOLATIONS_MAX: usize = 100;
/// Steps that all expressions of a policy may take together, at most; about as many seconds as
/// this has tens of millions.
pub const STEPS_MAX: u64 = 100_000_000;
/// Bytes of a rule's name, and of a message.
const NAME_MAX: usize = 100;
const MESSAGE_MAX: usize = 500;
/// More approvals than this nobody collects.
const APPROVALS_MAX: u32 = 100;

/// A policy, compiled.
#[derive(Debug)]
pub struct Policy {
    digest: String,
    rules: Vec<Rule>,
    patterns: Arc<Patterns>,
    variables: BTreeSet<&'static str>,
    env: Functions,
}

/// Why a text is no policy.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Too many bytes.
    #[error("a policy has at most {TEXT_MAX} bytes")]
    Size,
    /// Not the YAML of a policy.
    #[error("the policy cannot be read: {0}")]
    Yaml(String),
    /// Rules that break rules, each of them told.
    #[error("the policy is wrong:\n  {}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n  "))]
    Rules(Vec<Problem>),
}

/// One thing wrong with a policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("rule {rule}, {place}: {what}")]
pub struct Problem {
    /// Name of the rule.
    pub rule: String,
    /// Which part of it: `match`, or `validations[0]`.
    pub place: String,
    /// What is wrong, with the expression where it is one's fault.
    pub what: String,
}

/// What a policy says about a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Whether it may train.
    pub verdict: Verdict,
    /// The rules that matched, in the order of the policy.
    pub rules: Vec<String>,
    /// Everything against it; empty unless it is denied.
    pub violations: Vec<Violation>,
    /// SHA-256 of the policy's text.
    pub policy_digest: String,
}

/// Whether a request may train.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Yes.
    Allowed,
    /// Once it has these approvals.
    NeedsApproval(Approval),
    /// No.
    Denied,
}

/// Who has to approve; both where both are wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Approval {
    /// Approvals of the merge request, at least.
    #[serde(default)]
    pub merge_request: u32,
    /// Whether an operator has to approve.
    #[serde(default)]
    pub operators: bool,
}

impl Approval {
    /// What satisfies both.
    fn and(self, other: Self) -> Self {
        Self {
            merge_request: self.merge_request.max(other.merge_request),
            operators: self.operators || other.operators,
        }
    }
}

/// A reason against a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The rule that says so; none when it is that no rule matches.
    pub rule: Option<String>,
    /// The reason.
    pub message: String,
}

/// A rule, compiled.
#[derive(Debug)]
struct Rule {
    name: String,
    condition: Option<Expression>,
    validations: Vec<(Expression, String)>,
    approval: Option<Approval>,
    forks: bool,
    edited: bool,
}

/// CEL's functions, which have no `Debug`.
struct Functions(Arc<Env>);

impl std::fmt::Debug for Functions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Functions")
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PolicyText {
    rules: Vec<RuleText>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleText {
    name: String,
    #[serde(default, rename = "match", deserialize_with = "written")]
    condition: Option<String>,
    #[serde(default)]
    validations: Vec<ValidationText>,
    #[serde(default, deserialize_with = "written")]
    approval: Option<Approval>,
    #[serde(default)]
    forks: bool,
    #[serde(default)]
    edited: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ValidationText {
    expression: String,
    message: String,
}

/// A key without a value is a mistake, and must not mean that there is no such key.
fn written<'de, T: Deserialize<'de>, D: Deserializer<'de>>(from: D) -> Result<Option<T>, D::Error> {
    T::deserialize(from).map(Some)
}

impl Policy {
    /// Reads a policy and compiles every expression of it.
    pub fn parse(text: &str) -> Result<Self, Error> {
        if text.len() > TEXT_MAX {
            return Err(Error::Size);
        }
        let read: PolicyText = serde_saphyr::from_str_with_options(
            text,
            serde_saphyr::options! { strict_booleans: true, with_snippet: false },
        )
        .map_err(|error| Error::Yaml(one_line(&error.to_string())))?;
        let mut compiler = Compiler::default();
        let rules = compiler.rules(read);
        match compiler.problems {
            problems if problems.is_empty() => Ok(Self {
                digest: Sha256::of(text.as_bytes()).to_string(),
                rules,
                patterns: Arc::new(compiler.patterns),
                variables: compiler.variables,
                env: Functions(expression::environment()),
            }),
            problems => Err(Error::Rules(problems)),
        }
    }

    /// SHA-256 of the text, 64 lower-case hex digits.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// The approvals that any of its rules may want.
    pub fn approvals(&self) -> Approval {
        self.rules.iter().filter_map(|it| it.approval).fold(Approval::default(), Approval::and)
    }

    /// Whether any of its expressions names `merge_requests`, which only GitLab knows.
    pub fn names_merge_requests(&self) -> bool {
        self.variables.contains("merge_requests")
    }

    /// Decides about a request: allowed when a rule matches and everything holds in every rule
    /// that does. What cannot be evaluated does not hold.
    pub fn decide(&self, facts: &Facts) -> Decision {
        let context = expression::context(&self.env.0, facts, &self.patterns);
        let (mut rules, mut violations) = (Vec::new(), Vec::new());
        let mut approval = Approval::default();
        let (mut forks, mut edited) = (false, false);
        for rule in &self.rules {
            match rule.condition.as_ref().map_or(Ok(true), |it| it.evaluate(&context)) {
                Ok(false) => continue,
                Ok(true) => {}
                Err(reason) => {
                    violations.push(rule.violation(format!("match cannot be evaluated: {reason}")));
                    continue;
                }
            }
            rules.push(rule.name.clone());
            forks |= rule.forks;
            edited |= rule.edited;
            let room = VIOLATIONS_MAX.saturating_sub(violations.len());
            violations.extend(rule.violations(&context).take(room));
            approval = approval.and(rule.approval.unwrap_or_default());
        }
        if rules.is_empty() && violations.is_empty() {
            let message = "no rule of the policy matches this request".to_owned();
            violations.push(Violation { rule: None, message });
        }
        if facts.is_of_a_fork() && !forks {
            let message = "no rule that matches lets the code of a fork in".to_owned();
            violations.push(Violation { rule: None, message });
        }
        if facts.is_edited() && !edited {
            let message = "no rule that matches lets in what an operator edited".to_owned();
            violations.push(Violation { rule: None, message });
        }
        violations.truncate(VIOLATIONS_MAX);
        let verdict = match approval {
            _ if !violations.is_empty() => Verdict::Denied,
            Approval { merge_request: 0, operators: false } => Verdict::Allowed,
            approval => Verdict::NeedsApproval(approval),
        };
        Decision { verdict, rules, violations, policy_digest: self.digest.clone() }
    }
}

impl Rule {
    fn violations(&self, context: &Context<'_, '_>) -> impl Iterator<Item = Violation> {
        self.validations.iter().filter_map(|(it, message)| match it.evaluate(context) {
            Ok(true) => None,
            Ok(false) => Some(self.violation(message.clone())),
            Err(reason) => {
                Some(self.violation(format!("{message} (cannot be evaluated: {reason})")))
            }
        })
    }

    fn violation(&self, message: String) -> Violation {
        Violation { rule: Some(self.name.clone()), message }
    }
}

/// What is known while a policy is compiled.
#[derive(Default)]
struct Compiler {
    names: BTreeSet<String>,
    patterns: Patterns,
    variables: BTreeSet<&'static str>,
    steps: u64,
    problems: Vec<Problem>,
}

impl Compiler {
    fn rules(&mut self, read: PolicyText) -> Vec<Rule> {
        if read.rules.len() > RULES_MAX {
            self.report("-", "rules", &format!("there are more than {RULES_MAX}"));
            return Vec::new();
        }
        read.rules.into_iter().map(|it| self.rule(it)).collect()
    }

    fn rule(&mut self, read: RuleText) -> Rule {
        let name = read.name;
        if !is_line(&name, NAME_MAX) {
            self.report(&name, "name", &format!("expected one line of 1 to {NAME_MAX} bytes"));
        }
        if !self.names.insert(name.clone()) {
            self.report(&name, "name", "another rule has it");
        }
        if read.validations.len() > VALIDATIONS_MAX {
            let what = format!("there are more than {VALIDATIONS_MAX}");
            self.report(&name, "validations", &what);
        }
        let approval = read.approval;
        if let Some(it) = approval
            && (it == Approval::default() || it.merge_request > APPROVALS_MAX)
        {
            let what = format!("expected merge_request: 1 to {APPROVALS_MAX}, operators: true");
            self.report(&name, "approval", &what);
        }
        let condition = read.condition.and_then(|it| self.expression(&name, "match", &it));
        let mut validations = Vec::new();
        for (i, it) in read.validations.into_iter().take(VALIDATIONS_MAX).enumerate() {
            let place = format!("validations[{i}]");
            if !is_line(&it.message, MESSAGE_MAX) {
                let what = format!("expected a message of one line, 1 to {MESSAGE_MAX} bytes");
                self.report(&name, &place, &what);
            }
            let compiled = self.expression(&name, &place, &it.expression);
            validations.extend(compiled.map(|compiled| (compiled, it.message)));
        }
        Rule { name, condition, validations, approval, forks: read.forks, edited: read.edited }
    }

    fn expression(&mut self, rule: &str, place: &str, text: &str) -> Option<Expression> {
        let fault = match Expression::compile(text, &mut self.patterns, &mut self.variables) {
            Ok((compiled, steps)) => {
                self.steps = self.steps.saturating_add(steps);
                if self.steps <= STEPS_MAX {
                    return Some(compiled);
                }
                format!(
                    "it takes {steps} steps at worst, and all expressions up to it {}; a policy \
                     may take {STEPS_MAX}",
                    self.steps
                )
            }
            Err(fault) => fault,
        };
        self.report(rule, place, &format!("{fault}, in `{}`", one_line(&cut(text))));
        None
    }

    fn report(&mut self, rule: &str, place: &str, what: &str) {
        if self.problems.len() < VIOLATIONS_MAX {
            let rule = one_line(&cut(rule));
            self.problems.push(Problem { rule, place: place.to_owned(), what: one_line(what) });
        }
    }
}

fn is_line(text: &str, bytes_max: usize) -> bool {
    !text.trim().is_empty() && text.len() <= bytes_max && !text.chars().any(char::is_control)
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// As much of an expression as an error shows.
fn cut(text: &str) -> String {
    match text.char_indices().nth(200) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
