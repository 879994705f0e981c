//! Brings GitLab to what is wanted: read, compare, write. Repeating it changes nothing.

use branchline_contract::Gitlab;
use branchline_gitlab::{Class, Client, Error, NewStatus};
use branchline_ledger::Run;

use crate::note;
use crate::wanted::{Wanted, current, differs};

/// Writes what differs, as the user `own`.
pub(crate) async fn report(
    client: &Client,
    own: u64,
    run: &Run,
    wanted: &Wanted,
) -> Result<(), Error> {
    let gitlab = &run.request.gitlab;
    let status = match set_status(client, own, gitlab, &wanted.status).await {
        // The pipeline is of another commit, as with merged results, or gone: the commit's own then.
        Err(error) if error.class() == Class::NotFound => {
            let status = NewStatus { pipeline_id: None, ..wanted.status.clone() };
            set_status(client, own, gitlab, &status).await
        }
        other => other,
    };
    // A token that may not set the status may write the note all the same.
    if let Some(iid) = merge_request(client, gitlab).await? {
        write_note(client, own, run, iid, &wanted.note).await?;
    }
    status
}

async fn set_status(
    client: &Client,
    own: u64,
    gitlab: &Gitlab,
    wanted: &NewStatus,
) -> Result<(), Error> {
    let stands = async || {
        let rows = client.commit_statuses(gitlab.project_id, &gitlab.sha, &wanted.name).await?;
        Ok::<_, Error>(!differs(current(&rows, own, wanted.pipeline_id), wanted.state))
    };
    if stands().await? {
        return Ok(());
    }
    match client.set_commit_status(gitlab.project_id, &gitlab.sha, wanted).await {
        Ok(_) => Ok(()),
        // Somebody set it in between, or an answer was lost: GitLab refuses the same state again.
        Err(error) if error.class() == Class::Refused && stands().await? => Ok(()),
        Err(error) => Err(error),
    }
}

/// The merge request that the run belongs to: the pipeline's, or the oldest open one of its branch.
async fn merge_request(client: &Client, gitlab: &Gitlab) -> Result<Option<u64>, Error> {
    let branch = gitlab.git_ref.as_str();
    if let Some(named) = &gitlab.merge_request {
        return match client.merge_request(gitlab.project_id, named.iid).await {
            // A number is only a claim; another branch's merge request is not ours to write on.
            Ok(found) => Ok((found.source_branch == branch).then_some(found.iid)),
            Err(error) if error.class() == Class::NotFound => Ok(None),
            Err(error) => Err(error),
        };
    }
    let found = client.merge_requests_of_commit(gitlab.project_id, &gitlab.sha).await?;
    let open = found.into_iter().filter(|it| it.state == "opened" && it.source_branch == branch);
    Ok(open.map(|it| it.iid).min())
}

async fn write_note(
    client: &Client,
    own: u64,
    run: &Run,
    iid: u64,
    wanted: &str,
) -> Result<(), Error> {
    let project = run.request.gitlab.project_id;
    let marker = note::marker(&run.request.run);
    let ours = client
        .find_note(project, iid, |it| it.author.id == own && it.body.starts_with(&marker))
        .await?;
    match ours {
        None => client.create_note(project, iid, wanted).await.map(drop),
        Some(found) if note::is_newer(&found.body, run) => Ok(()),
        Some(found) if found.body.trim_end() == wanted.trim_end() => Ok(()),
        Some(found) => client.update_note(project, iid, found.id, wanted).await.map(drop),
    }
}

#[cfg(test)]
mod tests;
