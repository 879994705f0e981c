//! Finds the job of a create call whose answer was lost, or that met one of its id.

use branchline_gcp::vertex::Job;
use branchline_gcp::{Class, Error as GcpError};
use branchline_ledger::{Body, Run};
use tracing::info;

use super::perform::{Error, Hands, answer};
use super::step::{Answer, Found};
use super::tracked::Tracked;
use crate::job_body;

impl Hands<'_> {
    /// A pipeline job of that id exists. It is the run's if it carries a nonce of this attempt.
    pub(super) async fn adopt(
        &self,
        it: &mut Tracked,
        id: &str,
        error: GcpError,
    ) -> Result<(), Error> {
        let kind = it.run.request.training.kind();
        let name = format!("{}/{}/{id}", it.run.request.vertex.parent(), kind.collection());
        let job = match self.vertex.get(kind, &name).await {
            Ok(job) => job,
            // Another precondition than the id: no job came of the call.
            Err(other) if other.class() == Class::NotFound => {
                return self.give_up(it, error.message()).await;
            }
            Err(other) => return Err(other.into()),
        };
        match intent_of(&it.run, &job) {
            Some(intent) => self.append(it, Body::Submitted { intent, job: job.name }).await,
            None => self.give_up(it, error.message()).await,
        }
    }

    /// Lists by nonce: the settle time is over, so what is not shown does not exist.
    pub(super) async fn settle(&self, it: &mut Tracked) -> Result<(), Error> {
        let vertex = it.run.request.vertex.clone();
        let nonce = it.run.intents.last().expect("only an intent is settled").nonce.clone();
        let kind = it.run.request.training.kind();
        let filter = format!("labels.{}=\"{nonce}\"", job_body::LABEL_INTENT);
        let (project, region) = (vertex.project.as_str(), vertex.region.as_str());
        let (mut found, mut token) = (None, None);
        while found.is_none() {
            let page = self.vertex.list(kind, project, region, &filter, token).await?;
            let carries = |it: &Job| it.labels.get(job_body::LABEL_INTENT) == Some(&nonce);
            found = page.jobs.into_iter().find(carries);
            token = page.next;
            // A page may be empty and not be the last.
            if token.is_none() {
                break;
            }
        }
        info!(run.id = %it.run.id, found = found.is_some(), "intent settled");
        answer(it, Answer::Settled(found.map(|job| Found { job: job.name, nonce })));
        Ok(())
    }
}

/// The intent of this attempt whose nonce a job carries.
fn intent_of(run: &Run, job: &Job) -> Option<String> {
    let nonce = job.labels.get(job_body::LABEL_INTENT)?;
    run.intents.iter().any(|it| it.nonce == *nonce).then(|| nonce.clone())
}
