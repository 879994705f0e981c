//! ID tokens of the embedded GitLab, in front of the door to its signing keys.
#![expect(clippy::unwrap_used, reason = "a helper of a test may panic as the test may")]

use branchline_contract::Gitlab;
use branchline_gcp::identity::IdTokens;
use branchline_gcp::{Config, Credentials};
use branchline_gitlab::id_token::{Claims, Forgery, agree};
use branchline_gitlab::signing_keys::{Issuer, SigningKeys, Unproven};
use branchline_local::gitlab::{CiJob, GitLab, Trigger};
use branchline_local::stack::{Options, Stack};
use jiff::Timestamp;
use tokio::net::TcpListener;

const CONFIG: &[u8] = b"train: {id_tokens: {BRANCHLINE_ID_TOKEN: {aud: branchline}}, script: [x]}";

struct World {
    gitlab: GitLab,
    address: String,
    project: u64,
    keys: SigningKeys,
}

impl World {
    async fn start() -> Self {
        let gitlab = GitLab::open(None).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        gitlab.set_external_url(&address);
        let router = gitlab.router();
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        let files = [(".gitlab-ci.yml", CONFIG)];
        let project = gitlab.create_project("ml/iris", "main", &files).unwrap();
        gitlab.commit(project, "topic", "Topic", &[("a", b"b")]).unwrap();
        gitlab.open_merge_request(project, "topic", "main", "Topic").unwrap();
        let issuer =
            Issuer { issuer: address.clone(), jwks_file: None, jwks_uri: None, host: None };
        let keys = SigningKeys::new(&[issuer], &["branchline".to_owned()]).unwrap();
        Self { gitlab, address, project, keys }
    }

    fn job(&self, trigger: Trigger<'_>) -> CiJob {
        self.gitlab.start_pipeline(self.project, trigger, "train").unwrap()
    }

    async fn prove(&self, token: &str) -> Result<Claims, Unproven> {
        self.keys.prove(token, Timestamp::now()).await
    }

    /// What the job would say about itself.
    fn origin(&self, job: &CiJob) -> Gitlab {
        Gitlab {
            host: self.address.strip_prefix("http://").unwrap().parse().unwrap(),
            project_id: self.project,
            project_path: job.variables["CI_PROJECT_PATH"].parse().unwrap(),
            sha: job.sha.parse().unwrap(),
            git_ref: job.variables["CI_COMMIT_REF_NAME"].parse().unwrap(),
            pipeline_id: job.pipeline_id,
            job_id: job.id,
            merge_request: None,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_proves_who_it_is_with_the_token_of_its_metadata_server() {
    let stack = Stack::start(Options::default()).await.unwrap();
    let email = stack.iam.create_service_account("demo-project", "notifier");
    let metadata = stack.metadata_server(&email).await.unwrap();
    let config =
        Config { metadata_endpoint: Some(format!("http://{metadata}")), ..Config::default() };
    let token = IdTokens::new(&config, "operators").unwrap().token().await.unwrap();
    let certs = format!("http://{}/oauth2/v3/certs", stack.endpoints().iam);
    let google = Issuer { jwks_uri: Some(certs), ..Issuer::google() };
    let keys = SigningKeys::new(&[google], &["operators".to_owned()]).unwrap();
    let account = keys.identify(&token, Timestamp::now()).await.unwrap();
    assert_eq!(account.email, email);

    let others = IdTokens::new(&config, "others").unwrap().token().await.unwrap();
    let refused = keys.identify(&others, Timestamp::now()).await.unwrap_err();
    assert!(refused.to_string().contains("audience"), "{refused}");
    let anonymous = Config { credentials: Credentials::Anonymous, ..Config::default() };
    assert!(IdTokens::new(&anonymous, "operators").is_err());
    stack.shutdown().await;
}

#[tokio::test]
async fn a_job_proves_what_it_says_about_itself_and_nothing_about_another() {
    let world = World::start().await;
    let triggers = [Trigger::Push("main"), Trigger::Push("topic"), Trigger::MergeRequest(1)];
    let jobs = triggers.map(|it| world.job(it));
    for (index, job) in jobs.iter().enumerate() {
        let claims = world.prove(&job.variables["BRANCHLINE_ID_TOKEN"]).await.unwrap();
        for (other, said) in jobs.iter().enumerate() {
            let agreed = agree(&claims, &world.origin(said));
            assert_eq!(agreed.is_ok(), index == other, "{index}, {other}: {agreed:?}");
        }
    }
}

#[tokio::test]
async fn a_token_for_the_cloud_is_refused_by_name() {
    let world = World::start().await;
    let job = world.job(Trigger::Push("main"));
    let audience = "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p";
    let token = world.gitlab.id_token(job.id, audience).unwrap();
    let refused = world.prove(&token).await.unwrap_err();
    assert!(matches!(refused, Unproven::Forgery(Forgery::CloudAudience(_))), "{refused}");
}

#[tokio::test]
async fn a_key_that_is_rotated_before_anybody_looked_is_found() {
    let world = World::start().await;
    let job = world.job(Trigger::Push("main"));
    let before = world.gitlab.id_token(job.id, "branchline").unwrap();
    world.gitlab.rotate_key().unwrap();
    let after = world.gitlab.id_token(job.id, "branchline").unwrap();
    for token in [before, after] {
        assert_eq!(world.prove(&token).await.unwrap().job_id, job.id);
    }
}
