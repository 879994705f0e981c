//! A provider of a workload identity pool, as IAM writes it. Pure.

use serde::Deserialize;
use serde_json::Value;

use super::Refusal;

/// A provider of a workload identity pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Provider {
    /// `projects/N/locations/global/workloadIdentityPools/P/providers/X`.
    pub name: String,
    /// Whose tokens it takes.
    pub issuer: String,
    /// Audiences that it takes; none means its own name.
    pub audiences: Vec<String>,
    /// CEL by attribute, `google.subject` among them.
    pub mapping: Vec<(String, String)>,
    /// CEL that has to hold, if any.
    pub condition: Option<String>,
    /// Whether it takes any token at all.
    pub standing: Standing,
}

/// Whether a pool or a provider works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It does.
    Active,
    /// Somebody switched it off.
    Disabled,
    /// Somebody deleted it; for 30 days it can be had back.
    Deleted,
}

impl Standing {
    pub(super) fn read(it: &Value) -> Self {
        match (it["state"].as_str(), &it["disabled"]) {
            (Some("DELETED"), _) => Self::Deleted,
            (_, Value::Bool(true)) => Self::Disabled,
            _ => Self::Active,
        }
    }
}

impl Provider {
    /// Reads the JSON of IAM, as gcloud prints it too.
    pub fn read(it: &Value) -> Result<Self, Refusal> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Oidc {
            issuer_uri: String,
            #[serde(default)]
            allowed_audiences: Vec<String>,
        }
        let oidc: Oidc = serde_json::from_value(it["oidc"].clone())
            .map_err(|_| Refusal::Unusable("it is not an OpenID Connect provider".to_owned()))?;
        let mapping = it["attributeMapping"].as_object().into_iter().flatten();
        let mapping =
            mapping.filter_map(|(name, cel)| Some((name.clone(), cel.as_str()?.to_owned())));
        let condition = it["attributeCondition"].as_str().filter(|it| !it.is_empty());
        Ok(Self {
            name: it["name"].as_str().unwrap_or_default().to_owned(),
            issuer: oidc.issuer_uri,
            audiences: oidc.allowed_audiences,
            mapping: mapping.collect(),
            condition: condition.map(str::to_owned),
            standing: Standing::read(it),
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_provider_is_off_or_deleted_or_works() {
        let cases = [
            (json!({"state": "ACTIVE"}), Standing::Active),
            (json!({"state": "ACTIVE", "disabled": false}), Standing::Active),
            (json!({"state": "ACTIVE", "disabled": true}), Standing::Disabled),
            // One that is deleted has to be had back before it can be switched on.
            (json!({"state": "DELETED", "disabled": true}), Standing::Deleted),
        ];
        for (mut provider, expected) in cases {
            provider["oidc"] = json!({"issuerUri": "https://gitlab.com"});
            assert_eq!(Provider::read(&provider).unwrap().standing, expected, "{provider}");
        }
    }
}
