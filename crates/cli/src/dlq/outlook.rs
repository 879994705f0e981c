//! What would become of a dead letter if it were replayed today. Pure.

use branchline_ledger::{Letter, Origin, Role, Run, State};
use branchline_service::{Class, Reason};
use jiff::Timestamp;

/// In a sentence. `ended` is when the run's last attempt did, and `now` may be an edit of the body,
/// which an operator stands behind.
pub(super) fn outlook(
    letter: &Letter,
    origin: &Origin,
    run: Option<&Run>,
    ended: Option<Timestamp>,
    job_id: Option<u64>,
) -> String {
    let edited = matches!(origin, Origin::Operator { .. });
    match letter.role {
        Role::Notifier => return of_event(run),
        Role::Worker => {}
    }
    if !origin.is_proven() {
        let what = "a replay would be refused: nothing proves where it comes from";
        return format!("{what}; retry its CI job, or edit it as an operator");
    }
    let reason = Reason::named(&letter.reason);
    if !edited && reason.is_some_and(|it| it.class() == Class::Refused) {
        return "a replay would be refused for the same reason".to_owned();
    }
    let Some(run) = run else {
        return "a replay asks for its run, which the ledger does not have yet".to_owned();
    };
    let known = job_id.is_some_and(|it| run.ci_jobs.contains(&it));
    match &run.state {
        State::Finished(ending) => {
            let outcome = ending.outcome.as_str();
            let asked_later = ended.is_some_and(|it| it < letter.first_published);
            if run.ended_badly() && asked_later && !known {
                format!(
                    "its run has ended ({outcome}): a replay begins attempt {}",
                    run.attempt + 1
                )
            } else {
                format!("its run has ended ({outcome}): a replay is a no-op")
            }
        }
        State::Requested | State::Stalled(_) | State::Verified => {
            "a replay takes its run up again, where intake left it".to_owned()
        }
        State::Held(_) | State::Admitted | State::Intended | State::Submitted | State::Running => {
            "its run is under way: a replay is a no-op".to_owned()
        }
    }
}

fn of_event(run: Option<&Run>) -> String {
    match run {
        Some(run) => format!(
            "a replay has the notifier report attempt {} of the run as it stands; other \
             subscribers of the topic get the event once more",
            run.attempt
        ),
        None => "a replay would be refused: the ledger does not have its run".to_owned(),
    }
}
