//! What a permission is asked on: the APIs' resources, and where their policies hang. Pure.

use crate::vertex::project_number;

/// A resource of Google Cloud. A project is named by its id or its number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resource {
    /// `projects/P`.
    Project(String),
    /// A topic, `projects/P/topics/T`.
    Topic(String),
    /// A subscription, `projects/P/subscriptions/S`.
    Subscription(String),
    /// A bucket, by its own name.
    Bucket(String),
    /// An object in a bucket.
    Object {
        /// The bucket's name.
        bucket: String,
        /// The object's name.
        name: String,
    },
    /// A location of Vertex AI or a job in it, `projects/P/locations/L…`.
    Vertex(String),
    /// A service account, by its e-mail.
    Account(String),
    /// A pool or provider, `projects/P/locations/global/workloadIdentityPools/…`.
    Pool(String),
    /// An API of a project, `projects/P/services/S`.
    Service(String),
}

impl Resource {
    /// A project.
    pub fn project(id: &str) -> Self {
        Self::Project(format!("projects/{id}"))
    }

    /// A topic.
    pub fn topic(project: &str, id: &str) -> Self {
        Self::Topic(format!("projects/{project}/topics/{id}"))
    }

    /// A subscription.
    pub fn subscription(project: &str, id: &str) -> Self {
        Self::Subscription(format!("projects/{project}/subscriptions/{id}"))
    }

    /// A bucket.
    pub fn bucket(name: &str) -> Self {
        Self::Bucket(name.to_owned())
    }

    /// A service account.
    pub fn account(email: &str) -> Self {
        Self::Account(email.to_owned())
    }

    /// The API that it belongs to.
    pub(super) const fn api(&self) -> &'static str {
        match self {
            Self::Project(_) => "cloudresourcemanager.googleapis.com",
            Self::Topic(_) | Self::Subscription(_) => "pubsub.googleapis.com",
            Self::Bucket(_) | Self::Object { .. } => "storage.googleapis.com",
            Self::Vertex(_) => "aiplatform.googleapis.com",
            Self::Account(_) | Self::Pool(_) => "iam.googleapis.com",
            Self::Service(_) => "serviceusage.googleapis.com",
        }
    }

    /// Its name within its API.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Project(name)
            | Self::Topic(name)
            | Self::Subscription(name)
            | Self::Vertex(name)
            | Self::Pool(name)
            | Self::Service(name) => name.clone(),
            Self::Bucket(name) => format!("projects/_/buckets/{name}"),
            Self::Object { bucket, name } => format!("projects/_/buckets/{bucket}/objects/{name}"),
            Self::Account(email) => format!("projects/-/serviceAccounts/{email}"),
        }
    }

    /// Whether it is Cloud Storage's.
    pub(super) const fn is_stored(&self) -> bool {
        matches!(self, Self::Bucket(_) | Self::Object { .. })
    }

    /// What conditions call its type.
    pub(super) fn kind(&self) -> String {
        let kind = match self {
            Self::Project(_) => "Project",
            Self::Topic(_) => "Topic",
            Self::Subscription(_) => "Subscription",
            Self::Bucket(_) => "Bucket",
            Self::Object { .. } => "Object",
            Self::Vertex(_) => "Location",
            Self::Account(_) => "ServiceAccount",
            Self::Pool(_) => "WorkloadIdentityPool",
            Self::Service(_) => "Service",
        };
        format!("{}/{kind}", self.api())
    }

    /// The number of its project. A bucket's name has none in it; an account's e-mail
    /// begins with its own name, which Google's own accounts put the number into.
    pub(super) fn project_number(&self) -> Option<String> {
        match self {
            Self::Bucket(_) | Self::Object { .. } => None,
            Self::Account(email) => {
                let (name, domain) = email.split_once('@')?;
                let project = match domain {
                    "developer.gserviceaccount.com" => name.split('-').next(),
                    _ => domain.strip_suffix(".iam.gserviceaccount.com"),
                };
                project.map(project_number)
            }
            Self::Project(name)
            | Self::Topic(name)
            | Self::Subscription(name)
            | Self::Vertex(name)
            | Self::Pool(name)
            | Self::Service(name) => name.split('/').nth(1).map(project_number),
        }
    }

    /// Where its own policy is kept; what has none inherits all of its project's.
    pub(super) fn policy_key(&self) -> Option<String> {
        match self {
            Self::Bucket(name) | Self::Object { bucket: name, .. } => {
                Some(format!("buckets/{name}"))
            }
            Self::Account(email) => Some(format!("accounts/{email}")),
            Self::Project(_) => self.project_number().map(|it| format!("projects/{it}")),
            Self::Topic(name) | Self::Subscription(name) => Some(canonical(name)),
            Self::Vertex(_) | Self::Pool(_) | Self::Service(_) => None,
        }
    }
}

/// A resource's name with its project as a number, whichever form it came in.
pub(super) fn canonical(name: &str) -> String {
    let mut segments: Vec<String> = name.split('/').map(str::to_owned).collect();
    if let Some(project) = segments.get_mut(1) {
        *project = project_number(project);
    }
    segments.join("/")
}
