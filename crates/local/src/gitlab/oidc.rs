//! The issuer of ID tokens: its keys, and what its tokens say about a job.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::error::Error;
use super::pipeline::{Job, JobKind};
use super::state::State;
use super::variables::Variables;
use crate::signer::{Signer, SigningKey};

/// GitLab's default for the time that a job may run, and so for the life of its tokens.
const JOB_TIMEOUT_SECS: i64 = 3_600;
/// Where GitLab looks for a project's pipeline.
const CI_CONFIG: &str = ".gitlab-ci.yml";

impl State {
    /// A token for a CI job, as `id_tokens:` in its configuration asks for one.
    pub(super) fn id_token(&mut self, job_id: u64, audience: &Value) -> Result<String, Error> {
        let job = self.jobs.get(&job_id).filter(|it| it.kind == JobKind::Build);
        let job = job.ok_or(Error::NotFound("Job"))?.clone();
        let claims = self.claims(&job, audience)?;
        Ok(self.signer()?.sign(&claims)?)
    }

    /// The variables in which a job finds the tokens that its configuration asks for.
    pub(super) fn id_token_variables(&mut self, job: &Job) -> Result<Variables, Error> {
        let mut all = Variables::new();
        for (name, audience) in self.wanted_id_tokens(job)? {
            all.insert(name, self.id_token(job.id, &audience)?);
        }
        Ok(all)
    }

    /// Makes a new key, which signs from now on. Those before it stay published.
    pub(super) fn rotate_key(&mut self) -> Result<(), Error> {
        let key = SigningKey::generate()?;
        Ok(self.signing_keys.put(self.signing_keys.next_id(), key)?)
    }

    /// All keys as a JWK set lists them.
    pub(super) fn public_keys(&mut self) -> Result<Vec<Value>, Error> {
        self.signer()?;
        let keys = self.signing_keys.values().map(Signer::open);
        keys.map(|it| Ok(it?.public())).collect()
    }

    /// The newest key. The first is made when it is needed, for that takes a moment.
    pub(super) fn signer(&mut self) -> Result<Signer, Error> {
        if self.signing_keys.is_empty() {
            self.rotate_key()?;
        }
        let (_, newest) = self.signing_keys.last_key_value().ok_or(Error::NotFound("Key"))?;
        Ok(Signer::open(newest)?)
    }

    /// `id_tokens:` of the job, or else of all jobs, in the commit's own configuration; what it
    /// includes from elsewhere is not read.
    fn wanted_id_tokens(&self, job: &Job) -> Result<Vec<(String, Value)>, Error> {
        let config = match self.read_file(job.project_id, &job.sha, CI_CONFIG) {
            Err(Error::NotFound(_)) => return Ok(Vec::new()),
            other => other?,
        };
        let refused = |why: &str| Error::Refused(json!({"base": [format!("{CI_CONFIG}: {why}")]}));
        let config: Value = serde_saphyr::from_slice(&config)
            .map_err(|_| refused("Invalid configuration format"))?;
        let of = |section: &str| config.get(section)?.get("id_tokens")?.as_object();
        let wanted = of(&job.name).or_else(|| of("default")).into_iter().flatten();
        let token = |(name, it): (&String, &Value)| {
            let audience = it.get("aud").filter(|it| it.is_string() || it.is_array());
            let audience = audience.ok_or_else(|| refused("id_tokens config missing aud"))?;
            Ok((name.clone(), audience.clone()))
        };
        wanted.map(token).collect()
    }

    /// Ids and booleans are texts, but for the runner's id: that is how GitLab writes them.
    fn claims(&self, job: &Job, audience: &Value) -> Result<Value, Error> {
        let project = self.project(job.project_id)?;
        let pipeline = self.pipeline(job.project_id, job.pipeline_id)?;
        let user = self.user(job.user_id)?;
        // In a merge request pipeline, the ref is the source branch.
        let reference = match pipeline.merge_request_iid {
            Some(iid) => &self.merge_request(project.id, iid)?.source_branch,
            None => &pipeline.reference,
        };
        let (kind, path) =
            if project.is_tag(reference) { ("tag", "tags") } else { ("branch", "heads") };
        let ref_path = format!("refs/{path}/{reference}");
        let host = self.external_url.split_once("://").map_or("", |(_, host)| host);
        // Groups are no records here: one is known by its first project.
        let mut siblings = self.projects.values();
        let first = siblings.find(|it| it.namespace() == project.namespace());
        let namespace_id = first.map_or(project.id, |it| it.id).to_string();
        let protected = kind == "branch" && project.is_protected(reference);
        let iat = Timestamp::now().as_second();
        let mut claims = Map::new();
        let mut add = |more: Value| claims.extend(more.as_object().cloned().unwrap_or_default());
        add(json!({
            "namespace_id": namespace_id,
            "namespace_path": project.namespace(),
            "project_id": project.id.to_string(),
            "project_path": project.path,
            "user_id": user.id.to_string(),
            "user_login": user.username,
            "user_email": user.email(),
            "user_access_level": user.access_level.name(),
            "job_project_id": project.id.to_string(),
            "job_project_path": project.path,
            "job_namespace_id": namespace_id,
            "job_namespace_path": project.namespace(),
        }));
        add(json!({
            "pipeline_id": pipeline.id.to_string(),
            "pipeline_source": pipeline.source.name(),
            "job_id": job.id.to_string(),
            "job_source": pipeline.source.name(),
            "ref": reference,
            "ref_type": kind,
            "ref_path": ref_path,
            "ref_protected": protected.to_string(),
            "runner_id": 1,
            "runner_environment": "self-hosted",
            "sha": job.sha,
            "project_visibility": "private",
            "ci_config_ref_uri": format!("{host}/{}//{CI_CONFIG}@{ref_path}", project.path),
            "ci_config_sha": job.sha,
        }));
        add(json!({
            "jti": uuid(),
            "iat": iat,
            "nbf": iat - 5,
            "exp": iat + JOB_TIMEOUT_SECS,
            "iss": self.external_url,
            "sub": format!("project_path:{}:ref_type:{kind}:ref:{reference}", project.path),
            "aud": audience,
        }));
        Ok(Value::Object(claims))
    }
}

/// A random one (version 4).
fn uuid() -> String {
    let random = fastrand::u128(..) & !(0xf << 76) & !(0x3 << 62) | 0x4 << 76 | 0x2 << 62;
    let hex = format!("{random:032x}");
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}
