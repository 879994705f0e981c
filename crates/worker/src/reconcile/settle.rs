//! Finds the job of a create call whose answer was lost, or that met one of its id.

use branchline_gcp::vertex::Job;
use branchline_gcp::{Class, Error as GcpError};
use branchline_ledger::Run;
use tracing::info;

use super::perform::{Error, Hands, answer};
use super::step::{Answer, Found};
use super::tracked::Tracked;
use crate::job_body;

impl Hands<'_> {
    /// A pipeline job of that id exists. It is the run's if it carries a nonce of this attempt;
    /// without one, or where none is found after all, no job came of the call.
    pub(super) async fn adopt(
        &self,
        it: &mut Tracked,
        id: &str,
        error: GcpError,
    ) -> Result<(), Error> {
        match self.of_id(&it.run, id).await? {
            Some(found) => {
                answer(it, Answer::Settled(Some(found)));
                Ok(())
            }
            None => self.give_up(it, error.message()).await,
        }
    }

    /// Looks for the job: the settle time is over, so what is not found does not exist.
    pub(super) async fn settle(&self, it: &mut Tracked) -> Result<(), Error> {
        let found = match job_body::pipeline_job_id(&it.run) {
            // Better than a list, which may lag behind.
            Some(id) => self.of_id(&it.run, &id).await?,
            None => self.of_nonce(&it.run).await?,
        };
        info!(run.id = %it.run.id, found = found.is_some(), "intent settled");
        answer(it, Answer::Settled(found));
        Ok(())
    }

    async fn of_id(&self, run: &Run, id: &str) -> Result<Option<Found>, GcpError> {
        let kind = run.request.training.kind();
        let name = format!("{}/{}/{id}", run.request.vertex.parent(), kind.collection());
        match self.vertex.get(kind, &name).await {
            Ok(job) => Ok(intent_of(run, &job).map(|nonce| Found { job: job.name, nonce })),
            Err(error) if error.class() == Class::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn of_nonce(&self, run: &Run) -> Result<Option<Found>, GcpError> {
        let vertex = &run.request.vertex;
        let nonce = run.intents.last().expect("only an intent is settled").nonce.clone();
        let kind = run.request.training.kind();
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
        Ok(found.map(|job| Found { job: job.name, nonce }))
    }
}

/// The intent of this attempt whose nonce a job carries.
fn intent_of(run: &Run, job: &Job) -> Option<String> {
    let nonce = job.labels.get(job_body::LABEL_INTENT)?;
    run.intents.iter().any(|it| it.nonce == *nonce).then(|| nonce.clone())
}
