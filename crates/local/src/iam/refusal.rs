//! How Google's APIs refuse: over JSON, over gRPC, and as Cloud Storage words it.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use tonic::{Code, Status};

use super::resource::Resource;
use crate::wire::detailed;

const ERROR_INFO: &str = "type.googleapis.com/google.rpc.ErrorInfo";
const PUBSUB: &str = "pubsub.googleapis.com";
const STORAGE: &str = "storage.googleapis.com";
const MISSING: &str = "Request is missing required authentication credential. Expected OAuth 2 \
    access token, login cookie or other valid authentication credential. See \
    https://developers.google.com/identity/sign-in/web/devconsole-project.";
const INVALID: &str = "Request had invalid authentication credentials. Expected OAuth 2 access \
    token, login cookie or other valid authentication credential. See \
    https://developers.google.com/identity/sign-in/web/devconsole-project.";

/// One refused request.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub(crate) enum Refusal {
    /// 401: there is no token, and this API has nothing for everybody.
    #[error("{MISSING}")]
    MissingCredentials,
    /// 401: the token is nobody's, or is over.
    #[error("{INVALID}")]
    InvalidCredentials,
    /// 403: no binding gives this.
    #[error("{}", denied(api, permission, resource, who.as_deref()))]
    Denied { api: &'static str, permission: String, resource: Resource, who: Option<String> },
    /// 403: the API is not enabled in the project of this number.
    #[error("{}", disabled(api, project))]
    Disabled { api: &'static str, project: String },
    /// 403: nobody knows what this request does, so nobody may do it.
    #[error("Nothing is known here of what {0} needs.")]
    Unknown(String),
    /// 400.
    #[error("{0}")]
    Invalid(String),
    /// 404.
    #[error("{0}")]
    NotFound(String),
    /// 409: somebody else was faster.
    #[error(
        "There were concurrent policy changes. Please retry the whole read-modify-write with \
         exponential backoff."
    )]
    Conflict,
}

/// `google.rpc.ErrorInfo`.
#[derive(Clone, PartialEq, prost::Message)]
struct ErrorInfo {
    #[prost(string, tag = "1")]
    reason: String,
    #[prost(string, tag = "2")]
    domain: String,
    #[prost(btree_map = "string, string", tag = "3")]
    metadata: std::collections::BTreeMap<String, String>,
}

impl Refusal {
    /// Whether it is Cloud Storage that refuses somebody without a token: that is a 401.
    fn anonymous(&self) -> bool {
        matches!(self, Self::Denied { api: STORAGE, who: None, .. })
    }

    const fn code(&self) -> (StatusCode, &'static str, Code) {
        match self {
            Self::MissingCredentials | Self::InvalidCredentials => {
                (StatusCode::UNAUTHORIZED, "UNAUTHENTICATED", Code::Unauthenticated)
            }
            Self::Denied { .. } | Self::Disabled { .. } | Self::Unknown(_) => {
                (StatusCode::FORBIDDEN, "PERMISSION_DENIED", Code::PermissionDenied)
            }
            Self::Invalid(_) => {
                (StatusCode::BAD_REQUEST, "INVALID_ARGUMENT", Code::InvalidArgument)
            }
            Self::NotFound(_) => (StatusCode::NOT_FOUND, "NOT_FOUND", Code::NotFound),
            Self::Conflict => (StatusCode::CONFLICT, "ABORTED", Code::Aborted),
        }
    }

    fn info(&self) -> Option<ErrorInfo> {
        let info = |reason: &str, domain: &str, metadata: &[(&str, &str)]| {
            let own = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
            Some(ErrorInfo {
                reason: reason.to_owned(),
                domain: domain.to_owned(),
                metadata: metadata.iter().map(own).collect(),
            })
        };
        match self {
            Self::MissingCredentials => info("CREDENTIALS_MISSING", "googleapis.com", &[]),
            Self::InvalidCredentials => {
                info("ACCESS_TOKEN_TYPE_UNSUPPORTED", "googleapis.com", &[])
            }
            Self::Denied { api, permission, resource: Resource::Account(_), .. } => {
                info("IAM_PERMISSION_DENIED", api, &[("permission", permission)])
            }
            Self::Denied { api, permission, resource, .. } => info(
                "IAM_PERMISSION_DENIED",
                api,
                &[("permission", permission), ("resource", &resource.name())],
            ),
            Self::Disabled { api, project } => info(
                "SERVICE_DISABLED",
                "googleapis.com",
                &[
                    ("activationUrl", &activation_url(api, project)),
                    ("consumer", &format!("projects/{project}")),
                    ("service", api),
                ],
            ),
            Self::Unknown(_) | Self::Invalid(_) | Self::NotFound(_) | Self::Conflict => None,
        }
    }

    /// Over gRPC.
    pub(crate) fn status(&self) -> Status {
        let (_, _, code) = self.code();
        let code = if self.anonymous() { Code::Unauthenticated } else { code };
        match self.info() {
            Some(info) => detailed(code, &self.to_string(), ERROR_INFO, &info),
            None => Status::new(code, self.to_string()),
        }
    }

    /// Over Cloud Storage's JSON API, which has errors of its own kind.
    pub(crate) fn into_storage_response(self) -> Response {
        let (status, ..) = self.code();
        let status = if self.anonymous() { StatusCode::UNAUTHORIZED } else { status };
        let (message, reason) = match &self {
            Self::InvalidCredentials => ("Invalid Credentials".to_owned(), "authError"),
            Self::Disabled { .. } => (self.to_string(), "accessNotConfigured"),
            Self::MissingCredentials => (self.to_string(), "required"),
            Self::Denied { .. } if self.anonymous() => (self.to_string(), "required"),
            Self::Denied { .. } | Self::Unknown(_) => (self.to_string(), "forbidden"),
            Self::NotFound(_) => (self.to_string(), "notFound"),
            Self::Conflict => (self.to_string(), "conflict"),
            Self::Invalid(_) => (self.to_string(), "invalid"),
        };
        let mut detail = json!({"message": message, "domain": "global", "reason": reason});
        if status == StatusCode::UNAUTHORIZED {
            detail["locationType"] = json!("header");
            detail["location"] = json!("Authorization");
        }
        let code = status.as_u16();
        let error = json!({"code": code, "message": message, "errors": [detail]});
        (status, Json(json!({ "error": error }))).into_response()
    }
}

impl IntoResponse for Refusal {
    /// Over JSON, as all but Cloud Storage say it.
    fn into_response(self) -> Response {
        let (status, name, _) = self.code();
        let message = self.to_string();
        let mut error = json!({"code": status.as_u16(), "message": message, "status": name});
        if let Some(ErrorInfo { reason, domain, metadata }) = self.info() {
            let mut info = json!({"@type": ERROR_INFO, "reason": reason, "domain": domain});
            if !metadata.is_empty() {
                info["metadata"] = json!(metadata);
            }
            error["details"] = Value::Array(vec![info]);
        }
        (status, Json(json!({ "error": error }))).into_response()
    }
}

fn denied(api: &str, permission: &str, resource: &Resource, who: Option<&str>) -> String {
    let stored = |what: &str| {
        let who = who.unwrap_or("Anonymous caller");
        format!(
            "{who} does not have {permission} access to the Google Cloud {what}. Permission \
             '{permission}' denied on resource (or it may not exist)."
        )
    };
    if api == PUBSUB {
        return "User not authorized to perform this action.".to_owned();
    }
    match resource {
        Resource::Project(_) if api == STORAGE => stored("project"),
        Resource::Bucket(_) => stored("Storage bucket"),
        Resource::Object { .. } => stored("Storage object"),
        Resource::Account(_) => {
            format!("Permission '{permission}' denied on resource (or it may not exist).")
        }
        Resource::Project(_)
        | Resource::Topic(_)
        | Resource::Subscription(_)
        | Resource::Vertex(_)
        | Resource::Pool(_)
        | Resource::Service(_) => {
            let name = resource.name();
            format!(
                "Permission '{permission}' denied on resource '//{api}/{name}' (or it may not \
                 exist)."
            )
        }
    }
}

fn disabled(api: &str, project: &str) -> String {
    let title = match api {
        "aiplatform.googleapis.com" => "Vertex AI API",
        "cloudresourcemanager.googleapis.com" => "Cloud Resource Manager API",
        "iam.googleapis.com" => "Identity and Access Management (IAM) API",
        "iamcredentials.googleapis.com" => "IAM Service Account Credentials API",
        "logging.googleapis.com" => "Cloud Logging API",
        "pubsub.googleapis.com" => "Cloud Pub/Sub API",
        "serviceusage.googleapis.com" => "Service Usage API",
        "storage.googleapis.com" => "Cloud Storage API",
        other => other,
    };
    let url = activation_url(api, project);
    format!(
        "{title} has not been used in project {project} before or it is disabled. Enable it by \
         visiting {url} then retry. If you enabled this API recently, wait a few minutes for the \
         action to propagate to our systems and retry."
    )
}

fn activation_url(api: &str, project: &str) -> String {
    format!("https://console.developers.google.com/apis/api/{api}/overview?project={project}")
}
