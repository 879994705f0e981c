//! What a role looks at before it works. Everything that would keep it from its work is told at
//! once, and it ends: a pod that only half works is worse than the one before it, which goes on.
//!
//! Nothing here is for good. An endpoint is asked again until the time is over, whoever restarts the
//! role asks anew, and so an outage of Google's is waited out, as is the time that IAM takes to make
//! a grant known. What cannot be looked at, because Google does not tell or answers with an error of
//! its own, keeps nobody from starting: `branchline doctor` tells of that. Nor does what a worker
//! can work without for a while: GitLab and the issuers' keys. Whom and where jobs train is the
//! policy's to say, so permissions on that are found out with the first run.

use std::net::SocketAddr;
use std::time::Duration;

use branchline_gcp::iam::{Iam, Refusal};
use branchline_gcp::identity::IdTokens;
use branchline_gcp::{Config as Google, Credentials};
use branchline_gitlab::Client;
use branchline_service::config::{Draft, draft};
use branchline_service::health;
use branchline_service::telemetry::{self, chain};
use futures::future::join_all;
use jiff::Timestamp;
use secrecy::SecretString;
use serde::de::DeserializeOwned;
use tokio::net::TcpListener;

use crate::doctor::finding::{Finding, Level};
use crate::doctor::grants::{self, Grant, Grants, Things};
use crate::doctor::roles::{REPORTS, of_notifier, of_worker};
use crate::doctor::{gitlab, whoami};
use crate::env::{Environment, keyless};
use crate::exit;
use crate::roles::{Common, gitlab_token, reporting_token};

/// Time for everything that is asked.
const TIME_MAX: Duration = Duration::from_secs(5);
/// In a new pod, GKE's metadata server answers some seconds late, and on a new node later.
const IDENTITY_MAX: Duration = Duration::from_secs(20);

/// Why a role does not start, one sentence each.
#[derive(Debug, Default, thiserror::Error)]
#[error("{}", self.sentences().join("; "))]
pub(crate) struct Unfit {
    /// What somebody has written wrongly, or does not answer where they have written.
    wrong: Vec<String>,
    /// What the role's account may not do.
    denied: Vec<String>,
}

impl Unfit {
    pub(crate) fn sentences(&self) -> Vec<String> {
        self.wrong.iter().chain(&self.denied).cloned().collect()
    }

    pub(crate) const fn exit_code(&self) -> u8 {
        if self.wrong.is_empty() { exit::NO_PERMISSION } else { exit::CONFIG }
    }

    fn is_empty(&self) -> bool {
        self.wrong.is_empty() && self.denied.is_empty()
    }

    /// Notes what is wrong, if it is.
    fn noted<T, E: std::error::Error + 'static>(&mut self, it: Result<T, E>) -> Option<T> {
        it.map_err(|error| self.wrong.push(chain(&error))).ok()
    }

    fn read<T: DeserializeOwned>(&mut self, common: &Common) -> Option<Draft<T>> {
        self.noted(telemetry::check(&common.log));
        let (draft, errors) = draft(&common.config);
        self.wrong.extend(errors.iter().map(|it| chain(it)));
        draft
    }

    /// The port of probes and scrapes: whoever else listens on it, would answer them.
    async fn listening<T>(&mut self, draft: &Draft<T>, address: SocketAddr) -> Option<TcpListener> {
        let listener = health::listen(address).await;
        if draft.is_sure("listen") { self.noted(listener) } else { None }
    }

    fn found(&mut self, finding: Finding) {
        let Finding { check, level, what, why, .. } = finding;
        let sentence = format!("{what}: {why}");
        match (level, check) {
            // A token that ends some day is good today.
            (Level::Wrong, "gitlab-expiry") => {}
            (Level::Wrong, "permission" | "gitlab-scope" | "gitlab-token") => {
                self.denied.push(sentence);
            }
            (Level::Wrong, _) | (Level::Unknown, gitlab::SILENT) => self.wrong.push(sentence),
            (Level::Unknown, _) => {}
        }
    }

    fn and(mut self, other: Self) -> Self {
        self.wrong.extend(other.wrong);
        self.denied.extend(other.denied);
        self
    }
}

/// A worker's configuration, its token for GitLab and where it is looked at, if nothing is wrong.
pub(crate) async fn worker(
    common: &Common,
    environment: &Environment,
) -> Result<(branchline_worker::Config, Option<SecretString>, TcpListener), Unfit> {
    let mut unfit = Unfit::default();
    let draft = unfit.read::<branchline_worker::Config>(common);
    let token = unfit.noted(gitlab_token(environment));
    let Some(draft) = draft else { return Err(unfit) };
    let config = &draft.config;
    // Why there is none has been told.
    let given = token.clone().unwrap_or_else(|| Some(SecretString::default()));
    let listener = unfit.listening(&draft, config.listen).await;
    if let Err(errors) = branchline_worker::check(config, given) {
        let sure = errors.iter().filter(|it| it.follows_from().iter().all(|it| draft.is_sure(it)));
        unfit.wrong.extend(sure.map(|it| chain(it)));
    }
    let needs = Needs {
        grants: &Grants::read().worker,
        things: of_worker(config),
        regions: config.regions.iter().map(branchline_contract::Region::as_str).collect(),
    };
    let unfit = unfit.and(google(&draft, &config.google, needs, environment).await);
    match listener {
        Some(listener) if unfit.is_empty() => Ok((draft.config, token.flatten(), listener)),
        Some(_) | None => Err(unfit),
    }
}

/// A notifier's configuration, its token for GitLab and where it is looked at, if nothing is wrong.
pub(crate) async fn notifier(
    common: &Common,
    environment: &Environment,
) -> Result<(branchline_notifier::Config, SecretString, TcpListener), Unfit> {
    let mut unfit = Unfit::default();
    let draft = unfit.read::<branchline_notifier::Config>(common);
    let token = unfit.noted(reporting_token(environment));
    let Some(draft) = draft else { return Err(unfit) };
    let config = &draft.config;
    let listener = unfit.listening(&draft, config.listen).await;
    let client = draft.is_sure("gitlab").then(|| {
        let client = Client::new(&config.gitlab, token.clone().unwrap_or_default());
        unfit.noted(client).filter(|_| token.is_some())
    });
    let client = client.flatten();
    let audience = config.merge_requests.as_ref().and_then(|it| it.audience.as_ref());
    if let Some(audience) = audience.filter(|_| draft.is_sure("google")) {
        unfit.noted(IdTokens::new(&config.google, audience));
    }
    let needs = Needs {
        grants: &Grants::read().notifier,
        things: of_notifier(config),
        regions: Vec::new(),
    };
    let (google, reports) = futures::join!(
        google(&draft, &config.google, needs, environment),
        reports(client.as_ref())
    );
    let unfit = unfit.and(google).and(reports);
    match (token, listener) {
        (Some(token), Some(listener)) if unfit.is_empty() => Ok((draft.config, token, listener)),
        _ => Err(unfit),
    }
}

/// What a role needs of Google's.
struct Needs<'a> {
    grants: &'a [Grant],
    things: Things,
    regions: Vec<&'a str>,
}

/// Whether its endpoints answer, and its account may do what it has to.
async fn google<T>(
    draft: &Draft<T>,
    google: &Google,
    Needs { grants, mut things, regions }: Needs<'_>,
    environment: &Environment,
) -> Unfit {
    let mut unfit = Unfit::default();
    if !draft.is_sure("google") {
        return unfit;
    }
    unfit.wrong.extend(google.problems().into_iter().map(|it| format!("google: {it}")));
    // Those of anonymous credentials are an emulator's, which holds nobody to any.
    let is_somebody = google.credentials == Credentials::ApplicationDefault;
    let is_keyless = unfit.noted(keyless(environment, google)).is_some();
    if !google.problems().is_empty() {
        return unfit;
    }
    let Some(iam) = unfit.noted(Iam::within(google, TIME_MAX)) else { return unfit };
    let endpoints = google.endpoints(regions);
    let reached = join_all(endpoints.iter().map(|(url, service)| {
        let iam = &iam;
        async move {
            let error = iam.reach(url).await.err();
            (*service, error.map(|it| format!("{service} does not answer at {url}: {it}")))
        }
    }));
    let lacking = async {
        if !is_somebody || !is_keyless {
            return Ok(Vec::new());
        }
        if !draft.is_whole() {
            // Stand-ins, whose keys have been told.
            for it in things.values_mut() {
                it.retain(|it| !it.name().is_empty());
            }
        }
        lacking(google, grants, &things).await
    };
    let (reached, lacking) = futures::join!(reached, lacking);
    // A region that is down keeps no pod from working on the others.
    unfit.wrong.extend(unreachable(&reached));
    match lacking {
        Ok(found) => found.into_iter().for_each(|it| unfit.found(it)),
        Err(error) => {
            unfit.wrong.push(format!("there are no credentials for Google Cloud: {error}"));
        }
    }
    unfit
}

/// What is said of services of which no address answers.
fn unreachable(reached: &[(&str, Option<String>)]) -> Vec<String> {
    let answers = |service| reached.iter().any(|(it, silent)| *it == service && silent.is_none());
    let silent = reached.iter().filter(|(service, _)| !answers(*service));
    silent.filter_map(|(_, it)| it.clone()).collect()
}

async fn lacking(
    google: &Google,
    grants: &[Grant],
    things: &Things,
) -> Result<Vec<Finding>, Refusal> {
    let iam = Iam::within(google, IDENTITY_MAX)?;
    let own = iam.insist(async || iam.own().await).await?;
    // However late that was, questions have their time.
    let iam = Iam::within(google, TIME_MAX)?;
    let member = whoami(&iam).await;
    Ok(grants::missing(&iam, &own, &own, grants, things, &member).await)
}

/// Whether GitLab answers, and takes the token.
async fn reports(client: Option<&Client>) -> Unfit {
    let mut unfit = Unfit::default();
    let Some(client) = client else { return unfit };
    let look = gitlab::token(client, None, &REPORTS, Timestamp::now());
    let found = tokio::time::timeout(TIME_MAX, look)
        .await
        .unwrap_or_else(|_| vec![gitlab::silent(client.host(), "it took too long".to_owned())]);
    for it in found {
        unfit.found(it);
    }
    unfit
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_region_that_is_down_keeps_nobody_from_the_others() {
        let silent = |it: &str| Some(it.to_owned());
        let (up, down) = (("Vertex AI", None), ("Vertex AI", silent("west does not answer")));
        assert!(unreachable(&[up.clone(), down.clone(), ("Pub/Sub", None)]).is_empty());
        let other = ("Vertex AI", silent("east does not answer"));
        let all = ["west does not answer", "east does not answer"];
        assert_eq!(unreachable(&[down, other, ("Pub/Sub", None)]), all);
        assert_eq!(unreachable(&[up, ("Pub/Sub", silent("no answer"))]), ["no answer"]);
    }
}
