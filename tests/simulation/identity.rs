//! GitLab as the issuer of ID tokens: the shipped proof, behind calls that go wrong.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock, Mutex};

use branchline_contract::{ArtifactReady, IdToken};
use branchline_gitlab::id_token::{Expected, verify};
use branchline_gitlab::signing_keys::{KeySet, KeysError, Prove, Proving, Unproven};
use branchline_local::gitlab::{GitLab, Signer};
use branchline_policy::Policy;
use branchline_tests::identity::{ANYBODY, AUDIENCE, claims};
use branchline_worker::Trust;
use jiff::Timestamp;
use serde_json::json;

use crate::world::{BEGINNING, Door};

/// One key for all worlds: making one takes a moment, and nothing that is told rests on it.
static SIGNER: LazyLock<Signer> = LazyLock::new(|| {
    let gitlab = GitLab::open(None).expect("nothing is read");
    gitlab.signer().expect("a key can be made")
});
static KEYS: LazyLock<BTreeMap<String, KeySet>> = LazyLock::new(|| {
    let document = json!({"keys": [SIGNER.public()]}).to_string();
    let keys = KeySet::decode(document.as_bytes()).expect("it is a set of keys");
    BTreeMap::from([(format!("http://{}", crate::story::HOST), keys)])
});
static POLICY: LazyLock<Arc<Policy>> =
    LazyLock::new(|| Arc::new(Policy::parse(ANYBODY).expect("it is a policy")));

/// Tokens by project and job. They are the same in all worlds, and signing takes a while.
static TOKENS: Mutex<BTreeMap<(u64, u64), String>> = Mutex::new(BTreeMap::new());

/// Adds the token that GitLab gave to the CI job of the request when the world began.
pub(crate) fn sign(request: &mut ArtifactReady) {
    let job = (request.gitlab.project_id, request.gitlab.job_id);
    let mut tokens = TOKENS.lock().expect("no holder panics");
    let token = tokens.entry(job).or_insert_with(|| {
        let said = serde_json::to_value(&*request).expect("a request is JSON");
        let claims = claims(&said, &format!("{}-{}", job.0, job.1), BEGINNING);
        SIGNER.sign(&claims).expect("the key signs")
    });
    request.id_token = Some(IdToken(token.clone()));
}

/// Whom a worker behind that door believes.
pub(crate) fn trust(door: &Arc<Door>) -> Trust {
    Trust { keys: door.clone(), policy: POLICY.clone(), gitlab: None, operators: None }
}

impl Prove for Door {
    fn prove<'a>(&'a self, token: &'a str, published: Timestamp) -> Proving<'a> {
        Box::pin(async move {
            let expected =
                Expected { issuers: &KEYS, audiences: &[AUDIENCE.to_owned()], published };
            match self.call("prove", |_| Ok(verify(token, &expected))).await {
                Ok(proven) => Ok(proven?),
                Err(_) => Err(Unproven::Transient {
                    issuer: crate::story::HOST.to_owned(),
                    source: KeysError::Recently,
                }),
            }
        })
    }
}
