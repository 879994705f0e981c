//! What an identity provider makes of a job's token: by its configuration, or else by what the
//! Security Token Service says. Pure.

use branchline_gcp::iam::Provider;
use branchline_policy::federation::{self, Claims};

use super::finding::Finding;
use super::job_token::{audience, audiences, text, wanted};
use super::pool::ProviderName;
use super::quote::quote;

/// As long as Google takes it, in bytes.
const SUBJECT_MAX: usize = 127;

/// What a provider, as it is configured, makes of the token.
pub(super) fn of_provider(
    provider: &Provider,
    name: &ProviderName,
    claims: &Claims,
) -> Vec<Finding> {
    let mut found = Vec::new();
    if !provider.enabled {
        let fix = name.update("--no-disabled");
        found.push(Finding::wrong(
            "provider",
            format!("{name} is disabled"),
            "it takes no token",
            fix,
        ));
    }
    let issuer = text(claims, "iss");
    if provider.issuer.trim_end_matches('/') != issuer.trim_end_matches('/') {
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
    let mapped = federation::map(&provider.mapping, claims);
    let mut attributes = federation::Attributes::new();
    for (attribute, value) in mapped {
        match value {
            Ok(value) => drop(attributes.insert(attribute, value)),
            Err(reason) => found.push(Finding::wrong(
                "mapping",
                format!("{attribute} of {name} cannot be evaluated"),
                reason,
                name.update(&mapping(provider, &attribute)),
            )),
        }
    }
    match attributes.get("google.subject") {
        None if provider.mapping.iter().all(|(it, _)| it != "google.subject") => {
            found.push(Finding::wrong(
                "mapping",
                format!("{name} maps nothing to google.subject"),
                "every account needs a name",
                name.update(&mapping(provider, "google.subject")),
            ));
        }
        Some(subject) if subject.len() > SUBJECT_MAX => found.push(Finding::wrong(
            "subject",
            format!("google.subject would be {} bytes long", subject.len()),
            format!("Google takes {SUBJECT_MAX}; GitLab's sub holds project path and branch"),
            name.update(&mapping(provider, "google.subject")),
        )),
        Some(_) | None => {}
    }
    found.extend(
        provider.condition.iter().flat_map(|it| of_condition(it, name, claims, &attributes)),
    );
    found
}

/// The clauses that keep the token out.
fn of_condition(
    condition: &str,
    name: &ProviderName,
    claims: &Claims,
    attributes: &federation::Attributes,
) -> Vec<Finding> {
    let failing = match federation::failing(condition, claims, attributes) {
        Ok(failing) => failing,
        Err(reason) => {
            let what = format!("the condition of {name} cannot be evaluated here");
            return vec![Finding::unknown("condition", what, reason)];
        }
    };
    let mended = failing.iter().try_fold(condition.to_owned(), |condition, clause| {
        Some(condition.replace(&clause.text, clause.mended.as_ref()?))
    });
    let of_clause = |clause: federation::Clause| {
        let said = clause.claims.iter().map(|(name, value)| match value {
            Some(value) => format!("{name} is {value}"),
            None => format!("there is no {name}"),
        });
        let said = said.collect::<Vec<_>>().join(", ");
        let case = if clause.but_for_case { "; only the case of letters differs" } else { "" };
        let fix = match &mended {
            Some(it) => format!(
                "# if this job is meant to be let in\n{}",
                name.update(&format!("--attribute-condition={}", quote(it)))
            ),
            None => "# run the job where the condition holds, or change the condition".to_owned(),
        };
        let what = format!("the condition of {name} keeps the job out: {}", clause.text);
        Finding::wrong("condition", what, format!("in the token, {said}{case}"), fix)
    };
    failing.into_iter().map(of_clause).collect()
}

/// Whoever pastes it has to know the issuer: its tokens open the pool from then on.
fn trust(name: &ProviderName, issuer: &str) -> String {
    let change = name.update(&format!("--issuer-uri={}", quote(issuer)));
    format!("# only if that is your own GitLab\n{change}")
}

/// A mapping with something that works in the place of one attribute.
pub(super) fn mapping(provider: &Provider, instead: &str) -> String {
    let short = |name: &str| match name {
        "google.subject" => {
            "\"project:\" + assertion.project_id + \":ref:\" + assertion.ref_type".to_owned()
        }
        other => format!("assertion.{}", other.trim_start_matches("attribute.")),
    };
    let mut all: Vec<_> =
        provider.mapping.iter().filter(|(name, _)| name != instead).cloned().collect();
    if instead == "google.subject" || instead == "attribute.project_id" {
        all.push((instead.to_owned(), short(instead)));
    }
    let all: Vec<_> = all.iter().map(|(name, cel)| format!("{name}={cel}")).collect();
    format!("--attribute-mapping={}", quote(&all.join(",")))
}

/// What the error texts tell, where the provider may not be read.
pub(super) fn of_text(name: &ProviderName, claims: &Claims, message: &str) -> Vec<Finding> {
    let issuer = text(claims, "iss");
    if message.contains("The audience in ID Token") {
        return audience("GOOGLE_ID_TOKEN", claims, &name.audience()).into_iter().collect();
    }
    let known = [
        ("does not match the expected", "issuer", trust(name, issuer)),
        ("rejected by the attribute condition", "condition", name.describe()),
        ("exceeds the 127 bytes limit", "subject", name.describe()),
        ("parameters is invalid", "provider", name.describe()),
        ("stale to sign-in", "expired", wanted("GOOGLE_ID_TOKEN", &name.audience())),
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
        "curl --fail {} >jwks.json\n{}",
        quote(&format!("{issuer}/oauth/discovery/keys")),
        name.update("--jwk-json-path=jwks.json")
    );
    let what = format!("Google finds no key of the token's at {issuer}");
    let why = "it cannot reach it, or the keys it was given are older than the token";
    Finding::wrong("issuer-keys", what, why, fix)
}
