//! What an account may do, and how a CI job's token becomes one: IAM, the Security Token Service,
//! Resource Manager and Service Usage. Asked by `doctor`, and by a role before it works, and briefly.
//!
//! Google has no client for some of these, and its clients' errors lose what the Security Token
//! Service says; so this door speaks JSON over HTTP itself.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use google_cloud_auth::credentials::CacheableResource;
use reqwest::header::{AUTHORIZATION, HeaderValue};
use reqwest::{Client, Method};
use serde_json::{Value, json};

use self::reach::{causes, silent};
use crate::config::Config;
use crate::identity::IdTokens;

mod clock;
mod provider;
mod reach;

pub use provider::{Provider, Standing};

/// Time for all questions together; an answer that comes later is none.
const TIME_MAX: Duration = Duration::from_millis(2_500);
const ANSWER_MAX: usize = 1 << 20;
const SCOPE: &str = "https://www.googleapis.com/auth/cloud-platform";
const EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";

/// Something that permissions are held on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Resource {
    /// A project, by id or number.
    Project(String),
    /// A bucket, by name.
    Bucket(String),
    /// A topic, `projects/P/topics/T`.
    Topic(String),
    /// A subscription, `projects/P/subscriptions/S`.
    Subscription(String),
    /// A service account, by e-mail address.
    ServiceAccount(String),
}

/// A Google API, as far as its host is another.
#[derive(Clone, Copy, Debug)]
enum Api {
    Sts,
    Iam,
    IamCredentials,
    ResourceManager,
    ServiceUsage,
    Storage,
    PubSub,
}

/// As whom a question is asked.
#[derive(Clone)]
pub struct Caller(HeaderValue);

/// An answer that is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Google says no, in its words.
    #[error("{message}")]
    Said {
        /// HTTP status.
        status: u16,
        /// Reason of its `ErrorInfo`, or the OAuth error of the Security Token Service.
        reason: String,
        /// Its text.
        message: String,
    },
    /// Nothing was heard; the same question may be answered later.
    #[error("{0}")]
    Silent(String),
    /// What was heard, or is here, is of no use.
    #[error("{0}")]
    Unusable(String),
}

/// The door.
#[derive(Clone, Debug)]
pub struct Iam {
    http: Client,
    config: Config,
    until: Instant,
    /// Seconds by which this clock is ahead of Google's.
    ahead: Arc<AtomicI64>,
}

impl Iam {
    /// Nothing is asked yet, and the time for it begins.
    pub fn new(config: &Config) -> Result<Self, Refusal> {
        Self::within(config, TIME_MAX)
    }

    /// The same with another time for all questions together.
    pub fn within(config: &Config, time_max: Duration) -> Result<Self, Refusal> {
        let http = Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|error| silent(&error))?;
        let (config, until) = (config.clone(), Instant::now() + time_max);
        Ok(Self { http, config, until, ahead: Arc::default() })
    }

    /// Seconds by which this clock is ahead of Google's, as far as it has answered; less than none
    /// where it is behind.
    pub fn ahead(&self) -> i64 {
        self.ahead.load(Ordering::Relaxed)
    }

    /// Time that is left.
    pub fn left(&self) -> Duration {
        self.until.saturating_duration_since(Instant::now())
    }

    /// Whoever the credentials of this process stand for.
    pub async fn own(&self) -> Result<Caller, Refusal> {
        let credentials = self.config.credentials("find out who this is");
        let credentials = credentials.map_err(|error| Refusal::Unusable(causes(&error)))?;
        let headers =
            tokio::time::timeout(self.left(), credentials.headers(http::Extensions::new()));
        let headers = headers.await.map_err(|error| silent(&error))?;
        let headers = headers.map_err(|error| {
            if error.is_transient() { silent(&error) } else { Refusal::Unusable(causes(&error)) }
        });
        match headers? {
            CacheableResource::New { data, .. } => data
                .get(AUTHORIZATION)
                .map(|it| Caller(it.clone()))
                .ok_or_else(|| Refusal::Unusable("the credentials are anonymous".to_owned())),
            CacheableResource::NotModified => Err(Refusal::Unusable("no credentials".to_owned())),
        }
    }

    /// An ID token of whoever that is, which has its address in it; people have none, nor have those
    /// who became somebody by another's token.
    pub async fn own_id_token(&self) -> Option<String> {
        let tokens = IdTokens::new(&self.config, "branchline-doctor").ok()?;
        tokio::time::timeout(self.left(), tokens.token()).await.ok()?.ok()
    }

    /// A token of a CI job, exchanged at a provider: `//iam.googleapis.com/projects/N/…`.
    pub async fn exchange(&self, provider: &str, token: &str) -> Result<Caller, Refusal> {
        let body = json!({
            "grantType": EXCHANGE, "audience": provider, "scope": SCOPE,
            "requestedTokenType": ACCESS_TOKEN, "subjectToken": token, "subjectTokenType": JWT,
        });
        let answer = self.call(None, Method::POST, Api::Sts, "v1/token", Some(body)).await?;
        bearer(&answer["access_token"])
    }

    /// The same as a service account.
    pub async fn impersonate(&self, caller: &Caller, email: &str) -> Result<Caller, Refusal> {
        let path = format!("v1/projects/-/serviceAccounts/{email}:generateAccessToken");
        let body = Some(json!({"scope": [SCOPE], "lifetime": "600s"}));
        let answer =
            self.call(Some(caller), Method::POST, Api::IamCredentials, &path, body).await?;
        bearer(&answer["accessToken"])
    }

    /// Those of the permissions that the caller has on a resource.
    pub async fn held(
        &self,
        caller: &Caller,
        resource: &Resource,
        permissions: &[String],
    ) -> Result<BTreeSet<String>, Refusal> {
        let body = Some(json!({ "permissions": permissions }));
        let (method, api, path, body) = match resource {
            Resource::Bucket(name) => {
                let wanted: Vec<_> =
                    permissions.iter().map(|it| format!("permissions={it}")).collect();
                let path = format!("storage/v1/b/{name}/iam/testPermissions?{}", wanted.join("&"));
                (Method::GET, Api::Storage, path, None)
            }
            other => {
                (Method::POST, other.api(), format!("{}:testIamPermissions", other.path()), body)
            }
        };
        let answer = self.call(Some(caller), method, api, &path, body).await?;
        Ok(texts(&answer["permissions"]).into_iter().collect())
    }

    /// Who has which role on a resource, as `(role, member)`.
    pub async fn bindings(
        &self,
        caller: &Caller,
        resource: &Resource,
    ) -> Result<Vec<(String, String)>, Refusal> {
        let path = format!("{}:getIamPolicy", resource.path());
        let (method, path, body) = match resource {
            Resource::Project(_) => (Method::POST, path, Some(json!({}))),
            Resource::ServiceAccount(_) => (Method::POST, path, None),
            Resource::Bucket(name) => (Method::GET, format!("storage/v1/b/{name}/iam"), None),
            Resource::Topic(_) | Resource::Subscription(_) => (Method::GET, path, None),
        };
        let answer = self.call(Some(caller), method, resource.api(), &path, body).await?;
        let bindings = answer["bindings"].as_array().cloned().unwrap_or_default();
        let pairs = bindings.iter().flat_map(|binding| {
            let role = binding["role"].as_str().unwrap_or_default();
            texts(&binding["members"]).into_iter().map(|member| (role.to_owned(), member))
        });
        Ok(pairs.collect())
    }

    /// A subscription as Pub/Sub tells it.
    pub async fn subscription(&self, caller: &Caller, name: &str) -> Result<Value, Refusal> {
        self.call(Some(caller), Method::GET, Api::PubSub, &format!("v1/{name}"), None).await
    }

    /// How many subscriptions a topic has, of those that one answer lists.
    pub async fn subscribers(&self, caller: &Caller, topic: &str) -> Result<usize, Refusal> {
        let path = format!("v1/{topic}/subscriptions");
        let answer = self.call(Some(caller), Method::GET, Api::PubSub, &path, None).await?;
        Ok(texts(&answer["subscriptions"]).len())
    }

    /// Whether a topic or a subscription is there. What an account may do on one that is not,
    /// Pub/Sub answers with nothing.
    pub async fn exists(&self, caller: &Caller, resource: &Resource) -> Result<bool, Refusal> {
        match self.call(Some(caller), Method::GET, resource.api(), &resource.path(), None).await {
            Ok(_) => Ok(true),
            Err(Refusal::Said { status: 404, .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The number of a project.
    pub async fn project_number(&self, caller: &Caller, project: &str) -> Result<String, Refusal> {
        let path = format!("v3/projects/{project}");
        let answer =
            self.call(Some(caller), Method::GET, Api::ResourceManager, &path, None).await?;
        let name = answer["name"].as_str().unwrap_or_default();
        Ok(name.trim_start_matches("projects/").to_owned())
    }

    /// Whether an API is switched on in a project.
    pub async fn is_enabled(
        &self,
        caller: &Caller,
        project: &str,
        service: &str,
    ) -> Result<bool, Refusal> {
        let path = format!("v1/projects/{project}/services/{service}");
        let answer = self.call(Some(caller), Method::GET, Api::ServiceUsage, &path, None).await?;
        Ok(answer["state"] == "ENABLED")
    }

    /// Where tokens are exchanged.
    pub fn token_url(&self) -> String {
        format!("{}/v1/token", self.config.host(Api::Sts).trim_end_matches('/'))
    }

    async fn call(
        &self,
        caller: Option<&Caller>,
        method: Method,
        api: Api,
        path: &str,
        body: Option<Value>,
    ) -> Result<Value, Refusal> {
        let url = format!("{}/{path}", self.config.host(api).trim_end_matches('/'));
        let mut request = self.http.request(method, url).timeout(self.left());
        if let Some(Caller(bearer)) = caller {
            request = request.header(AUTHORIZATION, bearer.clone());
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        let mut response = request.send().await.map_err(|error| silent(&error.without_url()))?;
        if let Some(ahead) = clock::ahead(response.headers(), SystemTime::now()) {
            self.ahead.store(ahead, Ordering::Relaxed);
        }
        let status = response.status();
        let mut bytes = Vec::new();
        while let Some(chunk) =
            response.chunk().await.map_err(|error| silent(&error.without_url()))?
        {
            if bytes.len() + chunk.len() > ANSWER_MAX {
                return Err(Refusal::Unusable("the answer is too long".to_owned()));
            }
            bytes.extend_from_slice(&chunk);
        }
        let answer: Value = serde_json::from_slice(&bytes).unwrap_or_default();
        if status.is_success() { Ok(answer) } else { Err(said(status.as_u16(), &answer)) }
    }
}

impl Config {
    /// Where an API is. What `iam_endpoint` names stands for all that have no endpoint of their own.
    fn host(&self, api: Api) -> String {
        let (instead, google) = match api {
            Api::Sts => (&self.iam_endpoint, "https://sts.googleapis.com"),
            Api::Iam => (&self.iam_endpoint, "https://iam.googleapis.com"),
            Api::IamCredentials => (&self.iam_endpoint, "https://iamcredentials.googleapis.com"),
            Api::ResourceManager => {
                (&self.iam_endpoint, "https://cloudresourcemanager.googleapis.com")
            }
            Api::ServiceUsage => (&self.iam_endpoint, "https://serviceusage.googleapis.com"),
            Api::Storage => (&self.storage_endpoint, "https://storage.googleapis.com"),
            Api::PubSub => (&self.pubsub_endpoint, "https://pubsub.googleapis.com"),
        };
        instead.clone().unwrap_or_else(|| google.to_owned())
    }
}

impl Resource {
    /// As it was given.
    pub fn name(&self) -> &str {
        match self {
            Self::Project(name)
            | Self::Bucket(name)
            | Self::Topic(name)
            | Self::Subscription(name)
            | Self::ServiceAccount(name) => name,
        }
    }

    const fn api(&self) -> Api {
        match self {
            Self::Project(_) => Api::ResourceManager,
            Self::Bucket(_) => Api::Storage,
            Self::Topic(_) | Self::Subscription(_) => Api::PubSub,
            Self::ServiceAccount(_) => Api::Iam,
        }
    }

    fn path(&self) -> String {
        match self {
            Self::Project(id) => format!("v3/projects/{id}"),
            Self::Bucket(name) => format!("storage/v1/b/{name}"),
            Self::Topic(name) | Self::Subscription(name) => format!("v1/{name}"),
            Self::ServiceAccount(email) => format!("v1/projects/-/serviceAccounts/{email}"),
        }
    }
}

/// As errors name it.
impl std::fmt::Display for Resource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let last = |name: &str| name.rsplit('/').next().unwrap_or_default().to_owned();
        match self {
            Self::Project(id) => write!(f, "project {id}"),
            Self::Bucket(name) => write!(f, "bucket {name}"),
            Self::Topic(name) => write!(f, "topic {}", last(name)),
            Self::Subscription(name) => write!(f, "subscription {}", last(name)),
            Self::ServiceAccount(email) => write!(f, "service account {email}"),
        }
    }
}

impl std::fmt::Debug for Caller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Caller(…)")
    }
}

fn bearer(token: &Value) -> Result<Caller, Refusal> {
    let none = || Refusal::Unusable("the answer holds no access token".to_owned());
    let token = token.as_str().filter(|it| !it.is_empty()).ok_or_else(none)?;
    let mut value = HeaderValue::from_str(&format!("Bearer {token}")).map_err(|_| none())?;
    value.set_sensitive(true);
    Ok(Caller(value))
}

fn texts(list: &Value) -> Vec<String> {
    let list = list.as_array().into_iter().flatten();
    list.filter_map(|it| it.as_str().map(str::to_owned)).collect()
}

/// What Google's APIs, and in another form the Security Token Service, say.
fn said(status: u16, answer: &Value) -> Refusal {
    let text = |it: &Value| it.as_str().unwrap_or_default().chars().take(500).collect::<String>();
    if let Some(oauth) = answer["error"].as_str() {
        let message = text(&answer["error_description"]);
        return Refusal::Said { status, reason: oauth.to_owned(), message };
    }
    let error = &answer["error"];
    let mut details = error["details"].as_array().into_iter().flatten();
    let reason = details.find_map(|it| it["reason"].as_str());
    let reason = reason.or_else(|| error["status"].as_str()).unwrap_or_default().to_owned();
    let message = Some(text(&error["message"])).filter(|it| !it.is_empty());
    let message = message.unwrap_or_else(|| format!("HTTP status {status}"));
    Refusal::Said { status, reason, message }
}
