//! Which permissions a method takes, as Google documents it: for Pub/Sub on its page on access
//! control, for Cloud Storage on its pages on the permissions of JSON methods and with the methods
//! of gRPC, for Vertex AI on its page on permissions by operation. The stack's own gate is not asked.

use branchline_local::installation as local;
use serde_json::Value;

use crate::rights::Right;

/// A verb, a path, and permissions, each with the parameter that names what it is needed on.
type Method = (&'static str, &'static str, &'static [(&'static str, &'static str)]);

const GET: &str = "storage.objects.get";
const LIST: &str = "storage.objects.list";
const CREATE: &str = "storage.objects.create";
const DELETE: &str = "storage.objects.delete";
const CONSUME: (&str, &str) = ("pubsub.subscriptions.consume", "subscription");
/// No request names the account that a pipeline runs as unless it is told otherwise.
const ACT_AS: (&str, &str) = ("iam.serviceAccounts.actAs", "");

/// The methods that an installation calls.
const METHODS: &[Method] = &[
    ("POST", "/google.pubsub.v1.Publisher/Publish", &[("pubsub.topics.publish", "topic")]),
    ("POST", "/google.pubsub.v1.Subscriber/StreamingPull", &[CONSUME]),
    ("POST", "/google.pubsub.v1.Subscriber/Acknowledge", &[CONSUME]),
    ("POST", "/google.pubsub.v1.Subscriber/ModifyAckDeadline", &[CONSUME]),
    ("POST", "/google.storage.v2.Storage/GetObject", &[(GET, "bucket")]),
    ("POST", "/google.storage.v2.Storage/ListObjects", &[(LIST, "bucket")]),
    ("POST", "/google.storage.v2.Storage/UpdateObject", &[("storage.objects.update", "bucket")]),
    ("POST", "/google.storage.v2.Storage/DeleteObject", &[(DELETE, "bucket")]),
    (
        "POST",
        "/google.storage.v2.Storage/RewriteObject",
        &[(GET, "source_bucket"), (CREATE, "bucket")],
    ),
    ("GET", "/storage/v1/b/{bucket}/o/{object}", &[(GET, "bucket")]),
    ("POST", "/upload/storage/v1/b/{bucket}/o", &[(CREATE, "bucket")]),
    // Vertex AI, in every region.
    ("POST", "{region}/customJobs", &[("aiplatform.customJobs.create", "project")]),
    ("GET", "{region}/customJobs", &[("aiplatform.customJobs.list", "project")]),
    ("GET", "{region}/customJobs/{id}", &[("aiplatform.customJobs.get", "project")]),
    ("POST", "{region}/customJobs/{id}:cancel", &[("aiplatform.customJobs.cancel", "project")]),
    (
        "POST",
        "{region}/hyperparameterTuningJobs",
        &[("aiplatform.hyperparameterTuningJobs.create", "project")],
    ),
    (
        "GET",
        "{region}/hyperparameterTuningJobs",
        &[("aiplatform.hyperparameterTuningJobs.list", "project")],
    ),
    (
        "GET",
        "{region}/hyperparameterTuningJobs/{id}",
        &[("aiplatform.hyperparameterTuningJobs.get", "project")],
    ),
    (
        "POST",
        "{region}/hyperparameterTuningJobs/{id}:cancel",
        &[("aiplatform.hyperparameterTuningJobs.cancel", "project")],
    ),
    ("POST", "{region}/trainingPipelines", &[("aiplatform.trainingPipelines.create", "project")]),
    ("GET", "{region}/trainingPipelines", &[("aiplatform.trainingPipelines.list", "project")]),
    ("GET", "{region}/trainingPipelines/{id}", &[("aiplatform.trainingPipelines.get", "project")]),
    (
        "POST",
        "{region}/trainingPipelines/{id}:cancel",
        &[("aiplatform.trainingPipelines.cancel", "project")],
    ),
    ("POST", "{region}/pipelineJobs", &[("aiplatform.pipelineJobs.create", "project"), ACT_AS]),
    ("GET", "{region}/pipelineJobs", &[("aiplatform.pipelineJobs.list", "project")]),
    ("GET", "{region}/pipelineJobs/{id}", &[("aiplatform.pipelineJobs.get", "project")]),
    ("POST", "{region}/pipelineJobs/{id}:cancel", &[("aiplatform.pipelineJobs.cancel", "project")]),
];
const REGION: &str = "/v1/projects/{project}/locations/{location}";

/// A request of one of the parts of an installation, by the log of the wire.
pub(crate) struct Asked<'a> {
    line: &'a Value,
    party: &'a str,
}

impl<'a> Asked<'a> {
    /// Requests of others, and what only tells who somebody is, are none.
    pub(crate) fn of(line: &'a Value) -> Option<Self> {
        let account = line["sender"].as_str()?;
        let party = account.split('@').next()?;
        let google = ["pubsub", "storage", "vertex"].contains(&line["service"].as_str()?);
        let part = ["ci", "worker", "notifier"].contains(&party);
        (google && part).then_some(Self { line, party })
    }

    /// What it took. To be told that an object is missing takes more than to be given it, and so
    /// does it to put one in the place of another.
    pub(crate) fn took(&self) -> Vec<Right> {
        let missing = ["404", "grpc 5"].contains(&self.status());
        self.takes(missing)
    }

    /// Whether it was refused for want of a permission.
    pub(crate) fn is_refused_without(&self, right: &Right) -> bool {
        // A missing `actAs` is told in another way.
        let refused = ["401", "403", "grpc 7", "grpc 16"].contains(&self.status())
            || self.status() == "400" && right.permission == ACT_AS.0;
        refused && self.takes(true).contains(right)
    }

    /// Whether it was refused at all.
    pub(crate) fn is_refused(&self) -> bool {
        ["401", "403", "grpc 7", "grpc 16"].contains(&self.status())
    }

    fn status(&self) -> &str {
        self.line["status"].as_str().unwrap_or_default()
    }

    fn takes(&self, missing: bool) -> Vec<Right> {
        let text = |key: &str| self.line[key].as_str().unwrap_or_default();
        let (verb, path) = (text("method"), text("path"));
        let (documented, mut parameters) = METHODS
            .iter()
            .filter(|it| it.0 == verb)
            .find_map(|it| Some((it.2, parameters(&it.1.replace("{region}", REGION), path)?)))
            .unwrap_or_else(|| panic!("nobody has looked up what {verb} {path} takes"));
        parameters.extend(routed(text("params")));
        let mut takes = documented.to_vec();
        if missing && documented == [(GET, "bucket")] {
            takes.push((LIST, "bucket"));
        }
        if documented == [(CREATE, "bucket")] && !["", "0"].contains(&text("if_generation")) {
            takes.push((DELETE, "bucket"));
        }
        let right = |(permission, of): (&str, &str)| {
            let named = parameters.iter().find(|(name, _)| name == of);
            let on = match named {
                Some((_, it)) => thing(it),
                None if of.is_empty() => "training_account",
                None => panic!("{verb} {path} names no {of}: {parameters:?}"),
            };
            Right::new(self.party, on, permission)
        };
        takes.into_iter().map(right).collect()
    }
}

/// The parameters of a path that is one of a pattern's.
fn parameters(pattern: &str, path: &str) -> Option<Vec<(String, String)>> {
    let (wanted, found) = (pattern.split('/'), path.split('/'));
    if wanted.clone().count() != found.clone().count() {
        return None;
    }
    let mut parameters = Vec::new();
    for (wanted, found) in wanted.zip(found) {
        match wanted.strip_prefix('{').and_then(|it| it.split_once('}')) {
            Some((name, verb)) => {
                let value = found.strip_suffix(verb)?;
                if value.contains(':') {
                    return None;
                }
                parameters.push((name.to_owned(), value.to_owned()));
            }
            None if wanted == found => {}
            None => return None,
        }
    }
    Some(parameters)
}

/// The parameters by which a call of gRPC finds its way.
fn routed(header: &str) -> Vec<(String, String)> {
    let url = reqwest::Url::parse(&format!("http://it/?{header}")).expect("it was a header");
    url.query_pairs().into_owned().collect()
}

/// What `deploy/grants.yaml` calls it.
fn thing(name: &str) -> &'static str {
    match name.rsplit('/').next().unwrap_or_default() {
        local::ARTIFACTS => "artifact_bucket",
        local::LEDGER => "ledger_bucket",
        local::QUEUE => "queue_bucket",
        local::REQUESTS => "request_bucket",
        local::OUTPUT => "output_bucket",
        local::STAGING => "staging_bucket",
        local::DEAD_LETTERS => "dead_letter_bucket",
        local::PROJECT => "training_project",
        "artifact-ready" => "artifact_topic",
        "run-events" => "run_event_topic",
        "dead-letters" => "dead_letter_topic",
        "dead-letters-archive" => "dead_letter_subscription",
        "artifact-ready-worker" | "run-events-notifier" => "subscription",
        // Jobs are named by the number of their project.
        number if number.bytes().all(|it| it.is_ascii_digit()) => "training_project",
        _ => panic!("an installation has no {name}"),
    }
}
