//! Workload identity pools and their providers: whose tokens are taken, and what is made of them.

use std::collections::BTreeMap;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, Query, State as Shared};
use axum::http::{HeaderMap, Method};
use serde::Deserialize;
use serde_json::{Value, json};

use super::api::{Answer, Parameters, done, json_of};
use super::refusal::Refusal;
use super::resource::{Resource, canonical};
use super::{Error, Iam, cel};
use crate::vertex::project_number;

/// Bytes of a condition and of an expression of a mapping.
const CONDITION_MAX: usize = 4_096;
const MAPPING_MAX: usize = 2_048;
/// Attributes of one's own, and characters of their names.
const ATTRIBUTES_MAX: usize = 50;
const ATTRIBUTE_NAME_MAX: usize = 100;
/// Audiences, and characters of one.
const AUDIENCES_MAX: usize = 10;
const AUDIENCE_MAX: usize = 256;

/// An issuer whose tokens a pool takes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Provider {
    /// `iss` of its tokens, and where its keys are found.
    pub issuer: String,
    /// Audiences to take; none means the provider's own name, with or without `https:`.
    pub audiences: Vec<String>,
    /// What becomes of the claims, by `google.subject`, `google.groups` or `attribute.NAME`, in CEL.
    pub mapping: BTreeMap<String, String>,
    /// What has to hold besides, in CEL.
    pub condition: Option<String>,
    /// A JWK set that is taken instead of what the issuer publishes.
    pub jwks: Option<String>,
    /// Whether it takes nothing at all.
    pub disabled: bool,
}

impl Provider {
    /// Takes an issuer's tokens with this mapping, and nothing else of note.
    pub fn new(issuer: &str, mapping: &[(&str, &str)]) -> Self {
        let own = |(name, text): &(&str, &str)| ((*name).to_owned(), (*text).to_owned());
        let mapping = mapping.iter().map(own).collect();
        Self { issuer: issuer.to_owned(), mapping, ..Self::default() }
    }

    fn check(&self) -> Result<(), Refusal> {
        let refuse = |why: String| Err(Refusal::Invalid(why));
        if !self.mapping.contains_key("google.subject") {
            return refuse("Attribute mapping must contain 'google.subject'.".to_owned());
        }
        let own = self.mapping.keys().filter_map(|it| it.strip_prefix("attribute."));
        if own.count() > ATTRIBUTES_MAX {
            return refuse(format!("There are more than {ATTRIBUTES_MAX} custom attributes."));
        }
        for (name, text) in &self.mapping {
            let is_named = match name.strip_prefix("attribute.") {
                Some(name) => {
                    let letter =
                        |it: u8| it.is_ascii_lowercase() || it.is_ascii_digit() || it == b'_';
                    (1..=ATTRIBUTE_NAME_MAX).contains(&name.len()) && name.bytes().all(letter)
                }
                None => matches!(name.as_str(), "google.subject" | "google.groups"),
            };
            if !is_named {
                return refuse(format!("Invalid attribute mapping key: '{name}'."));
            }
            if text.len() > MAPPING_MAX || cel::check(text).is_err() {
                return refuse(format!("Could not parse the mapping of '{name}'."));
            }
        }
        if let Some(condition) = &self.condition
            && (condition.len() > CONDITION_MAX || cel::check(condition).is_err())
        {
            return refuse("Could not parse the attribute condition.".to_owned());
        }
        let long = self.audiences.iter().any(|it| it.len() > AUDIENCE_MAX);
        if self.audiences.len() > AUDIENCES_MAX || long {
            return refuse("Invalid value for allowed_audiences.".to_owned());
        }
        Ok(())
    }

    fn json(&self, name: &str) -> Value {
        let mut oidc = json!({"issuerUri": self.issuer});
        if !self.audiences.is_empty() {
            oidc["allowedAudiences"] = json!(self.audiences);
        }
        if let Some(jwks) = &self.jwks {
            oidc["jwksJson"] = json!(jwks);
        }
        let mut answer = json!({
            "name": name, "state": "ACTIVE", "attributeMapping": self.mapping, "oidc": oidc,
        });
        if let Some(condition) = &self.condition {
            answer["attributeCondition"] = json!(condition);
        }
        if self.disabled {
            answer["disabled"] = json!(true);
        }
        answer
    }

    /// Takes over the fields that a mask names.
    fn patch(&mut self, new: &Patch, mask: &str) -> Result<(), Refusal> {
        for path in mask.split(',').filter(|it| !it.is_empty()) {
            match path {
                "disabled" => self.disabled = new.disabled,
                "attributeCondition" | "attribute_condition" => {
                    self.condition = new.condition().map(str::to_owned);
                }
                "attributeMapping" | "attribute_mapping" => {
                    self.mapping.clone_from(&new.attribute_mapping);
                }
                "oidc.issuerUri" | "oidc.issuer_uri" => {
                    self.issuer.clone_from(&new.oidc.issuer_uri);
                }
                "oidc.allowedAudiences" | "oidc.allowed_audiences" => {
                    self.audiences.clone_from(&new.oidc.allowed_audiences);
                }
                "oidc.jwksJson" | "oidc.jwks_json" => self.jwks = new.jwks(),
                "oidc" => {
                    self.issuer.clone_from(&new.oidc.issuer_uri);
                    self.audiences.clone_from(&new.oidc.allowed_audiences);
                    self.jwks = new.jwks();
                }
                "displayName" | "display_name" | "description" => {}
                other => return Err(Refusal::Invalid(format!("Invalid field mask: '{other}'."))),
            }
        }
        self.check()
    }
}

/// A provider as a client sends it.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Patch {
    disabled: bool,
    attribute_condition: String,
    attribute_mapping: BTreeMap<String, String>,
    oidc: Oidc,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Oidc {
    issuer_uri: String,
    allowed_audiences: Vec<String>,
    jwks_json: String,
}

impl Patch {
    fn read(body: &[u8]) -> Result<Self, Refusal> {
        let read = Self::deserialize(json_of(body)?);
        read.map_err(|error| Refusal::Invalid(format!("Invalid JSON payload received. {error}")))
    }

    fn condition(&self) -> Option<&str> {
        Some(self.attribute_condition.as_str()).filter(|it| !it.is_empty())
    }

    fn jwks(&self) -> Option<String> {
        Some(self.oidc.jwks_json.clone()).filter(|it| !it.is_empty())
    }
}

impl Iam {
    /// Makes a pool, and returns what the members of its bindings begin with after `principal:`
    /// and `principalSet:`.
    pub fn create_pool(&self, project: &str, id: &str) -> String {
        let pool = pool_name(&project_number(project), id);
        self.lock().pools.entry(pool.clone()).or_insert(false);
        format!("//iam.googleapis.com/{pool}")
    }

    /// Makes or replaces a provider in a pool, and returns the audience by which STS knows it.
    pub fn put_provider(
        &self,
        project: &str,
        pool: &str,
        id: &str,
        provider: Provider,
    ) -> Result<String, Error> {
        provider.check()?;
        let pool = pool_name(&project_number(project), pool);
        let name = format!("{pool}/providers/{id}");
        let mut state = self.lock();
        if !state.pools.contains_key(&pool) {
            return Err(Refusal::NotFound("Requested entity was not found.".to_owned()).into());
        }
        state.providers.insert(name.clone(), provider);
        Ok(format!("//iam.googleapis.com/{name}"))
    }
}

fn pool_name(project: &str, id: &str) -> String {
    format!("projects/{project}/locations/global/workloadIdentityPools/{id}")
}

/// `GET` and `PATCH` of a pool: only whether it is disabled can be changed.
pub(super) async fn pool(
    Shared(iam): Shared<Iam>,
    Path((project, id)): Path<(String, String)>,
    method: Method,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    let name = pool_name(&project, &id);
    let on = Resource::Pool(name.clone());
    let caller = iam.caller(&headers)?.known()?;
    let verb = if method == Method::PATCH { "update" } else { "get" };
    caller.check(&format!("iam.workloadIdentityPools.{verb}"), &on)?;
    let name = canonical(&name);
    let mut state = iam.lock();
    let disabled = state.pools.get_mut(&name).ok_or_else(missing)?;
    if method == Method::PATCH {
        *disabled = Patch::read(&body)?.disabled;
    }
    let mut answer = json!({"name": name, "state": "ACTIVE"});
    if *disabled {
        answer["disabled"] = json!(true);
    }
    Ok(Json(if method == Method::PATCH { done(&answer) } else { answer }))
}

/// `GET` and `PATCH` of a provider.
pub(super) async fn provider(
    Shared(iam): Shared<Iam>,
    Path((project, pool, id)): Path<(String, String, String)>,
    method: Method,
    Query(query): Parameters,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    let name = format!("{}/providers/{id}", pool_name(&project, &pool));
    let on = Resource::Pool(name.clone());
    let caller = iam.caller(&headers)?.known()?;
    let verb = if method == Method::PATCH { "update" } else { "get" };
    caller.check(&format!("iam.workloadIdentityPoolProviders.{verb}"), &on)?;
    let name = canonical(&name);
    let mut state = iam.lock();
    let provider = state.providers.get_mut(&name).ok_or_else(missing)?;
    if method != Method::PATCH {
        return Ok(Json(provider.json(&name)));
    }
    let mut changed = provider.clone();
    changed.patch(&Patch::read(&body)?, query.get("updateMask").map_or("", String::as_str))?;
    *provider = changed;
    Ok(Json(done(&provider.json(&name))))
}

fn missing() -> Refusal {
    Refusal::NotFound("Requested entity was not found.".to_owned())
}
