//! Who may train: rules in CEL over a request. Pure.
//!
//! # The policy
//!
//! ```yaml
//! rules:
//! - name: main-may-train              # one line, its own
//!   match: origin.project_path.startsWith("ml/") && origin.ref_protected == true
//!   validations:                      # all must hold
//!   - expression: job.accelerators.all(it, it.count <= 8)
//!     message: at most 8 accelerators a machine
//!   approval: {merge_request: 1, operators: true}
//! ```
//!
//! A request is allowed when at least one rule matches and, of every rule that matches, every
//! validation holds. `match` is true where it is left out. A validation that cannot be evaluated
//! does not hold, and a `match` that cannot be evaluated denies the request: nothing is passed over.
//! All violations are told at once. `approval` asks for a number of approvals of the merge request
//! by people other than its author, for that of an operator, or for both; of several rules that
//! match, the larger demand counts. Who approves is not looked at here.
//!
//! A fork's merge request whose pipeline runs in the project's own name has the project's path and
//! a branch of the fork's. It is denied unless a rule that matches says `forks: true`. So is a dead
//! letter that an operator edited unless one says `edited: true`: its origin is the operator's word.
//!
//! # The variables
//!
//! Every field is always there; what is not known is null. Numbers are `int`.
//!
//! | variable | |
//! |---|---|
//! | `origin.host`, `.project_path`, `.sha`, `.ref` | texts |
//! | `origin.namespace` | `project_path` without its last part |
//! | `origin.project_id`, `.pipeline_id`, `.job_id` | numbers |
//! | `origin.ref_protected` | bool; null without verified claims |
//! | `origin.user_login` | text; null without verified claims |
//! | `origin.fork` | whether a fork's merge request runs in the project's name; null without verified claims |
//! | `claims` | the verified claims of the job's ID token, by their names in GitLab, where ids and bools are texts and `groups_direct` is a list; empty without them, so ask with `has(claims.environment)`; or, of a dead letter that an operator edited, only `operator`, their address |
//! | `merge_requests` | list of the merge requests that the commit is the newest of, or that it merged: `iid`, `state` (`opened` or `merged`), `target_branch`, `author`, `merged_by` (login names or null) and `approved_by`, a list of login names: of those who approved since the newest push, without the author and whoever asks; null where GitLab is not asked |
//! | `artifacts` | list of `name`, `uri`, `bucket` and `size` in bytes |
//! | `vertex.project`, `vertex.region` | texts |
//! | `job.kind` | `custom_job`, `pipeline_job`, `hyperparameter_tuning_job` or `training_pipeline` |
//! | `job.machine_types` | list of texts, one for each worker pool |
//! | `job.accelerators` | list of `type` and `count` for each machine, of the pools and steps that ask for some |
//! | `job.replicas` | machines at the same time: of all pools, times the parallel trials |
//! | `job.timeout_seconds` | number, or null where the spec sets none |
//! | `job.spot` | whether the strategy is `SPOT` |
//! | `job.service_account`, `.network`, `.network_attachment`, `.persistent_resource` | text, or null where the spec names none |
//! | `job.reserved_ip_ranges` | list of texts |
//! | `job.web_access` | whether a shell or a dashboard of the running job is offered |
//! | `job.packages` | list of the URIs of Python packages that run beside the images |
//! | `job.images` | list of `uri`, `registry` (a host; `docker.io` where the image names none) and `digest` (`sha256:…` or null) |
//! | `job.labels` | map of texts |
//!
//! What a spec does not show is null too, the lists included, so that no rule over them holds by
//! accident: a pipeline tells neither machine types nor replicas, timeout, spot, persistent resource,
//! web access and packages, and where it
//! comes from a template, or has a step that is no container, it tells no images and accelerators
//! either; `AutoML` tells nothing of that. A text that only Vertex AI fills, with a parameter of a
//! pipeline, is null. A pipeline's step that itself starts jobs shows its own image only.
//!
//! # The expressions
//!
//! CEL with its macros `has`, `all`, `exists`, `exists_one`, `map` and `filter`, its operators and the
//! functions `size`, `contains`, `startsWith`, `endsWith`, `matches` (whose pattern has to be a
//! literal), `string`, `int`, `double` and `bool`. Every name is checked when the policy is read, and
//! the most steps that an expression can take are counted, with lists of 1,000 entries: nested
//! macros and growing values are refused there once a policy can take more than [`STEPS_MAX`]
//! steps. What remains is that bound, which is seconds and not milliseconds, for a policy that
//! nests macros over the longest lists.

pub mod federation;

mod bound;
mod expression;
mod facts;
mod job;
mod policy;
mod shape;

pub use facts::{Facts, FactsError, claims};
pub use policy::{Approval, Decision, Error, Policy, Problem, Verdict, Violation};
pub use policy::{RULES_MAX, STEPS_MAX, TEXT_MAX, VALIDATIONS_MAX, VIOLATIONS_MAX};
