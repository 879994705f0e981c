//! What an identity provider makes of a token: its attribute mapping and condition, evaluated here.

use branchline_gcp::iam::Provider;
use branchline_policy::federation::{self, Attributes, Claims, Clause, Unclear};

use super::finding::Finding;
use super::job_token::{audience, audiences, is_fork, text};
use super::pool::ProviderName;
use super::quote::quote;

/// As long as Google takes it, in bytes.
const SUBJECT_MAX: usize = 127;
/// As that of docs/by-hand.md.
const SUBJECT: &str =
    "\"project:\" + assertion.project_id + \":pipeline:\" + assertion.pipeline_id";
/// How Google says that a token is from somebody else.
const OTHER_ISSUER: &str = "does not match the expected";

/// What a provider, as it is configured, makes of the token that Google has refused with a message.
pub(super) fn of_provider(
    provider: &Provider,
    name: &ProviderName,
    claims: &Claims,
    message: &str,
) -> Vec<Finding> {
    let mut found: Vec<_> = name.off(provider.standing).into_iter().collect();
    let issuer = text(claims, "iss");
    // Whether a slash at its end matters, Google alone knows.
    let alike = provider.issuer.trim_end_matches('/') == issuer.trim_end_matches('/');
    let refused = message.contains("issuer in ID Token") && message.contains(OTHER_ISSUER);
    if provider.issuer != issuer && (!alike || refused) {
        found.push(Finding::wrong(
            "issuer",
            format!("{name} trusts {}, and the token is from {issuer}", provider.issuer),
            "a provider takes the tokens of one issuer",
            trust(name, issuer),
        ));
    }
    // Its own name is taken with the scheme and without.
    let own = [name.audience(), name.audience().trim_start_matches("https:").to_owned()];
    let expected = if provider.audiences.is_empty() { &own[..] } else { &provider.audiences };
    if !audiences(claims).iter().any(|it| expected.contains(it)) {
        found.extend(audience("GOOGLE_ID_TOKEN", claims, &expected[0]));
    }
    let (attributes, more) = of_mapping(provider, name, claims);
    found.extend(more);
    found.extend(
        provider.condition.iter().flat_map(|it| of_condition(it, name, claims, &attributes)),
    );
    found
}

/// What the mapping makes of the token, and what of it does not work.
fn of_mapping(
    provider: &Provider,
    name: &ProviderName,
    claims: &Claims,
) -> (Attributes, Vec<Finding>) {
    let (mut attributes, mut found, mut wrong) = (Attributes::new(), Vec::new(), Vec::new());
    for (attribute, value) in federation::map(&provider.mapping, claims) {
        let what = format!("{attribute} of {name} cannot be evaluated");
        match value {
            Ok(value) => drop(attributes.insert(attribute, value)),
            // What is not known here, Google may know.
            Err(Unclear::Unknown(why)) => {
                found.push(Finding::unknown("mapping", format!("{what} here"), why));
            }
            Err(why) => wrong.push((attribute, "mapping", what, why.to_string())),
        }
    }
    let own = "google.subject".to_owned();
    match attributes.get(&own) {
        None if provider.mapping.iter().all(|(it, _)| *it != own) => {
            let what = format!("{name} maps nothing to google.subject");
            wrong.push((own, "mapping", what, "every account needs a name".to_owned()));
        }
        Some(subject) if subject.len() > SUBJECT_MAX => {
            let what = format!("google.subject would be {} bytes long", subject.len());
            let why =
                format!("Google takes {SUBJECT_MAX}; GitLab's sub holds project path and branch");
            wrong.push((own, "subject", what, why));
        }
        Some(_) | None => {}
    }
    let attributes_wrong: Vec<_> = wrong.iter().map(|it| it.0.as_str()).collect();
    let fix = mended(provider, &attributes_wrong, name);
    let wrong = wrong
        .into_iter()
        .map(|(_, check, what, why)| Finding::wrong(check, what, why, fix.clone()));
    (attributes, found.into_iter().chain(wrong).collect())
}

/// One command that mends all of a mapping, or words where nobody but its owner knows what it is for.
fn mended(provider: &Provider, wrong: &[&str], name: &ProviderName) -> String {
    let mut said = Vec::new();
    let mut mapping = Vec::new();
    let missing = wrong.iter().filter(|it| provider.mapping.iter().all(|(name, _)| name != *it));
    let missing = missing.map(|it| ((*it).to_owned(), String::new()));
    for (attribute, cel) in provider.mapping.iter().cloned().chain(missing) {
        let claim = cel
            .strip_prefix("assertion.")
            .filter(|it| it.bytes().all(|it| it.is_ascii_alphanumeric() || it == b'_'));
        let instead = match (wrong.contains(&attribute.as_str()), claim) {
            (false, _) => cel,
            (true, _) if attribute == "google.subject" => {
                said.push(
                    "# accounts get other names by it: a binding of principal://…/subject/… has to \
                     follow, and whom the old mapping kept out is let in if the condition holds"
                        .to_owned(),
                );
                SUBJECT.to_owned()
            }
            (true, Some(claim)) => {
                said.push(format!(
                    "# jobs without {claim} are let in then, if the condition holds"
                ));
                format!("has({cel}) ? {cel} : \"\"")
            }
            (true, None) => {
                return format!(
                    "# write {attribute} so that it is a text for every job of yours: {cel}"
                );
            }
        };
        mapping.push((attribute, instead));
    }
    said.push(name.update(&flag(&mapping)));
    said.join("\n")
}

/// As gcloud reads it, which takes another sign than the comma where a text has one.
pub(super) fn flag(mapping: &[(String, String)]) -> String {
    let free = |sign: &&str| mapping.iter().all(|(_, cel)| !cel.contains(*sign));
    let sign = [",", ";", "|", "~", "@"].into_iter().find(free).unwrap_or("#@#");
    let pairs: Vec<_> = mapping.iter().map(|(name, cel)| format!("{name}={cel}")).collect();
    let prefix = if sign == "," { String::new() } else { format!("^{sign}^") };
    format!("--attribute-mapping={}", quote(&format!("{prefix}{}", pairs.join(sign))))
}

/// The clauses that keep the token out.
fn of_condition(
    condition: &str,
    name: &ProviderName,
    claims: &Claims,
    attributes: &Attributes,
) -> Vec<Finding> {
    let failing = match federation::failing(condition, claims, attributes) {
        Ok(failing) => failing,
        Err(reason) => {
            let what = format!("the condition of {name} cannot be evaluated here");
            return vec![Finding::unknown("condition", what, reason.to_string())];
        }
    };
    let widened = federation::widened(condition, &failing, claims, &whose(claims));
    let widen = widened.map(|it| {
        let besides: Vec<_> =
            it.besides.iter().map(|(name, value)| format!("{name} is {value}")).collect();
        format!(
            "# beside those whom it lets in now, it lets in every job whose {}: only if that is \
             meant\n{}",
            besides.join(" and "),
            name.update(&format!("--attribute-condition={}", quote(&it.condition)))
        )
    });
    let of_clause = |clause: Clause| {
        let said = clause.claims.iter().map(|(name, value)| match value {
            Some(value) => format!("{name} is {value}"),
            None => format!("there is no {name}"),
        });
        let said = said.collect::<Vec<_>>().join(", ");
        let case = if clause.but_for_case { "; only the case of letters differs" } else { "" };
        let fix = widen.clone().unwrap_or_else(|| where_to_run(&clause, claims).to_owned());
        let what = format!("the condition of {name} keeps the job out: {}", clause.text);
        Finding::wrong("condition", what, format!("in the token, {said}{case}"), fix)
    };
    failing.into_iter().map(of_clause).collect()
}

/// Claims by which a job may be let in: those that say whose it is, and its branch where nobody but
/// a maintainer can make one of that name.
fn whose(claims: &Claims) -> Vec<&'static str> {
    let project = ["namespace_id", "namespace_path", "project_id", "project_path"];
    let branch = ["ref", "ref_path"];
    match (is_fork(claims), text(claims, "ref_protected")) {
        (true, _) => Vec::new(),
        (false, "true") => [&project[..], &branch[..]].concat(),
        (false, _) => project.to_vec(),
    }
}

/// What there is to do where the condition had better stay as it is.
fn where_to_run(clause: &Clause, claims: &Claims) -> &'static str {
    if is_fork(claims) {
        return "# this is a fork's pipeline: run the job in the project itself";
    }
    let open = |(name, value): &(String, Option<String>)| {
        name.ends_with("_protected") && value.as_deref() != Some("true")
    };
    if clause.claims.iter().any(open) {
        return "# run the job on a protected branch or tag, or in a protected environment: the \
                condition keeps everybody else out";
    }
    "# run the job where the condition holds, or change the condition by hand"
}

/// Whoever pastes it has to know the issuer: its tokens open the pool from then on.
fn trust(name: &ProviderName, issuer: &str) -> String {
    let change = name.update(&format!("--issuer-uri={}", quote(issuer)));
    format!("# only if that is your own GitLab\n{change}")
}

/// What the error texts tell. `look` is how to find out more, `write` how the token comes to its file.
pub(super) fn of_text(
    name: &ProviderName,
    claims: &Claims,
    message: &str,
    look: &str,
    write: &str,
) -> Vec<Finding> {
    let issuer = text(claims, "iss");
    if message.contains("The audience in ID Token") {
        return audience("GOOGLE_ID_TOKEN", claims, &name.audience()).into_iter().collect();
    }
    let clock = "# set the clock of this machine, or of GitLab's: Google's is another";
    let known = [
        (OTHER_ISSUER, "issuer", trust(name, issuer)),
        ("rejected by the attribute condition", "condition", look.to_owned()),
        ("exceeds the 127 bytes limit", "subject", look.to_owned()),
        ("parameters is invalid", "provider", look.to_owned()),
        ("stale to sign-in", "clock", clock.to_owned()),
        ("verify the ID Token signature", "signature", write.to_owned()),
    ];
    let found = known.into_iter().find(|(part, ..)| message.contains(part));
    let finding = found.map(|(_, check, fix)| {
        Finding::wrong(check, format!("{name} does not take the job's token"), message, fix)
    });
    finding.into_iter().collect()
}

/// Google asks the issuer for its keys, and a private GitLab does not answer it.
pub(super) fn unreachable(name: &ProviderName, issuer: &str) -> Finding {
    let fix = format!(
        "# only if that is your own GitLab\ncurl --fail {} >jwks.json\n{}",
        quote(&format!("{issuer}/oauth/discovery/keys")),
        name.update("--jwk-json-path=jwks.json")
    );
    let what = format!("Google finds no key of the token's at {issuer}");
    let why = "it cannot reach it, or the keys it was given are older than the token";
    Finding::wrong("issuer-keys", what, why, fix)
}
