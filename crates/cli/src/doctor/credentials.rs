//! The credential file of a CI job: what is to be exchanged, where, and for whom.

use std::path::{Path, PathBuf};

use branchline_gcp::iam::Iam;
use branchline_policy::federation::Claims;
use serde::Deserialize;
use serde_json::Value;

use super::finding::Finding;
use super::job_token::decode;
use super::pool::ProviderName;
use super::quote::quote;

/// What Google takes as a CI job's token.
const TOKEN_TYPES: [&str; 2] =
    ["urn:ietf:params:oauth:token-type:jwt", "urn:ietf:params:oauth:token-type:id_token"];
/// Where nobody knows the provider.
const WRITE: &str = "# in .gitlab-ci.yml: variables: {GOOGLE_APPLICATION_CREDENTIALS: google.json}\n\
                     # gcloud iam workload-identity-pools create-cred-config writes that file: see \
                     the README";

/// A credential file of the kind `external_account`, as far as it matters.
#[derive(Debug, Deserialize)]
struct File {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    audience: String,
    #[serde(default)]
    subject_token_type: String,
    #[serde(default)]
    token_url: String,
    #[serde(default)]
    service_account_impersonation_url: Option<String>,
    #[serde(default)]
    credential_source: Source,
    /// In a key: whose it is.
    #[serde(default)]
    client_email: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
struct Source {
    #[serde(default)]
    file: Option<PathBuf>,
    #[serde(default)]
    format: Format,
}

/// How the token lies in its file: as it is, unless this says that it is in a field of JSON.
#[derive(Debug, Default, Deserialize)]
struct Format {
    #[serde(rename = "type", default)]
    kind: String,
    #[serde(default)]
    subject_token_field_name: String,
}

/// What one says.
pub(super) struct Credentials {
    /// The provider, as the exchange is told it.
    pub audience: String,
    /// The same, read.
    pub provider: ProviderName,
    /// The service account that the job becomes, if any.
    pub account: Option<String>,
    /// The job's token.
    pub token: String,
    /// What that says.
    pub claims: Claims,
    /// How the token comes to its file.
    pub write: String,
}

/// No file is named, and there is nobody else to be.
pub(super) fn none() -> Finding {
    Finding::wrong(
        "credentials",
        "GOOGLE_APPLICATION_CREDENTIALS is not set",
        "nothing says how the job's token becomes an account",
        WRITE,
    )
}

/// Reads one. `shown` is the name of the provider that the doctor was shown.
pub(super) fn read(iam: &Iam, path: &Path, shown: Option<&str>) -> Result<Credentials, Finding> {
    let name = path.display();
    let wrong =
        |what: String, why: &str, fix: String| Finding::wrong("credentials", what, why, fix);
    let bytes = std::fs::read(path).map_err(|why| {
        wrong(format!("{name} cannot be read"), &why.to_string(), WRITE.to_owned())
    })?;
    let file: File = serde_json::from_slice(&bytes).map_err(|why| {
        wrong(format!("{name} is no credential file"), &why.to_string(), WRITE.to_owned())
    })?;
    match file.kind.as_str() {
        "external_account" => {}
        "service_account" => {
            let what = format!("{name} is the key of a service account");
            let why = "whoever copies it is the account until somebody notices";
            let fix = shown.map_or_else(|| WRITE.to_owned(), |it| file.instead_of_a_key(it));
            return Err(wrong(what, why, fix));
        }
        other => {
            let what = format!("{name} holds credentials of the kind {other:?}");
            let why = "a CI job has an ID token, and external_account is what exchanges it";
            return Err(wrong(what, why, WRITE.to_owned()));
        }
    }
    let anew = |provider: &str| file.anew(provider, path);
    let provider = ProviderName::parse(&file.audience, shown, anew)?;
    if !TOKEN_TYPES.contains(&file.subject_token_type.as_str()) {
        let what = format!("{name} says that the token is a {:?}", file.subject_token_type);
        let why = "GitLab's is a JWT, and nothing else is taken for one";
        return Err(wrong(what, why, anew(provider.as_str())));
    }
    if !exchanges(&file.token_url, &iam.token_url()) {
        let what = format!("{name} has the token exchanged at {:?}", file.token_url);
        let why = "that is not Google, and whoever gets the token can become the job";
        return Err(wrong(what, why, anew(provider.as_str())));
    }
    let (token, claims) = file.credential_source.token()?;
    Ok(Credentials {
        account: file.impersonated(),
        write: file.credential_source.write(),
        audience: file.audience,
        provider,
        token,
        claims,
    })
}

/// Whether that is where Google exchanges tokens, or what the doctor was told is.
fn exchanges(url: &str, own: &str) -> bool {
    let host = url.strip_prefix("https://").and_then(|it| it.split('/').next());
    url == own || host.is_some_and(|it| it.starts_with("sts.") && it.ends_with(".googleapis.com"))
}

impl File {
    fn impersonated(&self) -> Option<String> {
        let url = self.service_account_impersonation_url.as_ref()?;
        let (_, account) = url.rsplit_once("/serviceAccounts/")?;
        Some(account.strip_suffix(":generateAccessToken").unwrap_or(account).to_owned())
    }

    /// The command that writes it with another provider, and all else as it is.
    fn anew(&self, provider: &str, path: &Path) -> String {
        let Source { file, format } = &self.credential_source;
        let source = file.as_deref().unwrap_or(Path::new("google-token"));
        let mut command = create(provider, self.impersonated().as_deref(), source, path);
        if format.kind == "json" {
            let field = quote(&format.subject_token_field_name);
            command += " --credential-source-type=json --credential-source-field-name=";
            command += &field;
        }
        command
    }

    /// The command that writes one for the account whose key it is.
    fn instead_of_a_key(&self, provider: &str) -> String {
        let (source, path) = (Path::new("google-token"), Path::new("google.json"));
        let command = create(provider, self.client_email.as_deref(), source, path);
        format!(
            "{command}\n# in .gitlab-ci.yml: variables: {{GOOGLE_APPLICATION_CREDENTIALS: google.json}}"
        )
    }
}

fn create(provider: &str, account: Option<&str>, source: &Path, path: &Path) -> String {
    let account = account.map(|it| format!(" --service-account={}", quote(it)));
    format!(
        "gcloud iam workload-identity-pools create-cred-config {provider}{} \
         --credential-source-file={} --output-file={}",
        account.unwrap_or_default(),
        quote(&source.display().to_string()),
        quote(&path.display().to_string()),
    )
}

impl Source {
    fn token(&self) -> Result<(String, Claims), Finding> {
        let Some(path) = &self.file else {
            return Err(Finding::unknown(
                "credentials",
                "the job's token for Google comes from no file",
                "only credential_source.file is looked at here",
            ));
        };
        let name = path.display();
        let wrong =
            |what: String, why: &str| Finding::wrong("credentials", what, why, self.write());
        let text = std::fs::read_to_string(path)
            .map_err(|why| wrong(format!("{name} cannot be read"), &why.to_string()))?;
        let token = if self.format.kind == "json" {
            let json: Value = serde_json::from_str(&text)
                .map_err(|why| wrong(format!("{name} is no JSON"), &why.to_string()))?;
            json[&self.format.subject_token_field_name].as_str().unwrap_or_default().to_owned()
        } else {
            text
        };
        if token.trim() != token {
            return Err(wrong(
                format!("{name} has white space around its token"),
                "Google's clients send the file as it is, with its line feed",
            ));
        }
        let claims = decode(&token)
            .ok_or_else(|| wrong(format!("{name} holds no token"), "it is what is exchanged"))?;
        Ok((token, claims))
    }

    /// How the job's token comes to its file.
    fn write(&self) -> String {
        let path = self.file.as_deref().unwrap_or(Path::new("google-token"));
        let path = quote(&path.display().to_string());
        if self.format.kind == "json" {
            let field = &self.format.subject_token_field_name;
            return format!(
                "# write $GOOGLE_ID_TOKEN to {path}, as the field {field} of a JSON object"
            );
        }
        format!("# in .gitlab-ci.yml, in the job's script\nprintf %s \"$GOOGLE_ID_TOKEN\" >{path}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_exchanged_at_google_and_nowhere_else() {
        let own = "http://127.0.0.1:1/v1/token";
        let cases = [
            ("https://sts.googleapis.com/v1/token", true),
            ("https://sts.europe-west4.rep.googleapis.com/v1/token", true),
            (own, true),
            ("http://sts.googleapis.com/v1/token", false),
            ("https://sts.example.com/v1/token", false),
            ("https://example.com/sts.googleapis.com", false),
            ("https://sts.example.com/.googleapis.com", false),
            ("", false),
        ];
        for (url, expected) in cases {
            assert_eq!(exchanges(url, own), expected, "{url}");
        }
    }
}
