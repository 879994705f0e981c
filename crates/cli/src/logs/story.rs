//! What a run's facts say of its logs: which CI jobs and which jobs in Vertex AI belong to it, and
//! between which facts their lines stand. Pure.

use branchline_contract::{CloudProject, Gitlab, JobKind};
use branchline_ledger::{Body, Entry, Stored};
use jiff::Timestamp;

use super::line::{Line, Source, clean};
use crate::audit::detail;

/// The facts of a run, as far as they were read.
#[derive(Debug, Default)]
pub(super) struct Story {
    /// How many facts there are.
    pub(super) facts: usize,
    /// The newest attempt.
    pub(super) attempt: u32,
    /// Whether that attempt has ended.
    pub(super) ended: bool,
    pub(super) ci_jobs: Vec<CiJob>,
    pub(super) jobs: Vec<Job>,
    /// Where the newest request wants to train, and what.
    place: Option<(CloudProject, JobKind)>,
    /// Nonces of the intents, with the positions and times of their facts.
    intents: Vec<(String, usize, Timestamp)>,
}

/// A CI job that asked for an attempt.
#[derive(Clone, Debug)]
pub(super) struct CiJob {
    pub(super) attempt: u32,
    pub(super) gitlab: Gitlab,
    /// Position of the fact that answers it.
    pub(super) fact: usize,
    /// When Pub/Sub took its message in.
    pub(super) asked_at: Timestamp,
}

/// A job in Vertex AI.
#[derive(Clone, Debug)]
pub(super) struct Job {
    pub(super) attempt: u32,
    pub(super) kind: JobKind,
    pub(super) project: CloudProject,
    pub(super) name: String,
    /// Position and time of the fact that the call for it was written down with.
    pub(super) intended: (usize, Timestamp),
    /// The same of its end.
    pub(super) finished: Option<(usize, Timestamp)>,
}

impl Story {
    /// Takes in the next fact, and tells when it was, and the line that shows it. What Cloud
    /// Storage says counts before the writer's clock.
    pub(super) fn tell(&mut self, stored: &Stored) -> (Timestamp, Line) {
        let entry = Entry::decode(&stored.bytes);
        let written = entry.as_ref().ok().map(|it| it.fact.time);
        let time = stored.created.or(written).unwrap_or(Timestamp::UNIX_EPOCH);
        let position = self.facts;
        self.facts += 1;
        let (from, text) = match &entry {
            Ok(Entry { fact, .. }) => {
                self.attempt = fact.attempt;
                self.learn(&fact.body, position, time);
                let (kind, detail) = (fact.body.kind(), detail(&fact.body));
                let text =
                    if detail.is_empty() { kind.to_owned() } else { format!("{kind}: {detail}") };
                (kind.to_owned(), text)
            }
            // A newer version may write kinds that this one does not know.
            Err(error) => ("unknown".to_owned(), format!("{}: {error}", stored.object)),
        };
        let line = Line {
            source: Source::Branchline,
            attempt: self.attempt,
            time: written.unwrap_or(time),
            from,
            severity: String::new(),
            text: clean(&text.replace('\n', "; ")),
        };
        (time, line)
    }

    fn learn(&mut self, body: &Body, position: usize, time: Timestamp) {
        if matches!(body, Body::Retried { .. } | Body::Finished(_)) {
            // A retry may stand in the place of an end.
            for job in self.jobs.iter_mut().filter(|it| it.finished.is_none()) {
                job.finished = Some((position, time));
            }
        }
        match body {
            Body::Requested { request, asked_at, .. }
            | Body::Retried { request: Some(request), asked_at, .. } => {
                let place = (request.vertex.project.clone(), request.training.kind());
                (self.place, self.ended) = (Some(place), false);
                self.ci_jobs.push(CiJob {
                    attempt: self.attempt,
                    gitlab: request.gitlab.clone(),
                    fact: position,
                    asked_at: *asked_at,
                });
            }
            Body::Retried { request: None, .. } => self.ended = false,
            Body::Intended(intent) => self.intents.push((intent.nonce.clone(), position, time)),
            Body::Submitted { intent, job } => {
                let intended = self.intents.iter().find(|it| it.0 == *intent);
                if let (Some((project, kind)), Some((_, at, when))) = (&self.place, intended) {
                    self.jobs.push(Job {
                        attempt: self.attempt,
                        kind: *kind,
                        project: project.clone(),
                        name: job.clone(),
                        intended: (*at, *when),
                        finished: None,
                    });
                }
            }
            Body::Finished(_) | Body::Rejected { .. } => self.ended = true,
            Body::Verified { .. }
            | Body::Held { .. }
            | Body::Approved { .. }
            | Body::Admitted {}
            | Body::Duplicate { .. }
            | Body::Refused { .. }
            | Body::Running {}
            | Body::Blocked { .. }
            | Body::Unblocked {}
            | Body::CancelRequested { .. }
            | Body::Surplus { .. }
            | Body::Stalled { .. } => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn told(story: &mut Story, attempt: u32, kind: &str, body: &Value) -> (Timestamp, Line) {
        let position = story.facts;
        let fact = json!({
            "sequence": position, "previous": null, "nonce": "0", "actor": "worker",
            "time": "2026-11-23T12:00:00Z", "cause": "c1", "attempt": attempt, "kind": kind, "body": body,
        });
        let created = Timestamp::from_second(i64::try_from(position).unwrap()).unwrap();
        let object = format!("runs/7/iris-0123456789abcdef0123/{position:06}.json");
        story.tell(&Stored { object, created: Some(created), bytes: fact.to_string().into() })
    }

    fn request(job: u64) -> Value {
        json!({
            "run": "iris", "artifacts": [], "training": {"custom_job": {}},
            "vertex": {"project": "demo-project", "region": "europe-west4"},
            "gitlab": {
                "host": "gitlab.example.com", "project_id": 7, "project_path": "ml/iris",
                "sha": "1111111111111111111111111111111111111111", "ref": "main",
                "pipeline_id": 8, "job_id": job,
            },
        })
    }

    #[test]
    fn a_story_says_which_jobs_belong_to_a_run_and_between_which_facts() {
        let mut story = Story::default();
        let asked = "2026-11-23T11:59:00Z";
        let mut tell = |attempt, kind, body: Value| told(&mut story, attempt, kind, &body);
        let requested =
            json!({"request": request(70), "digest": "0".repeat(64), "asked_at": asked});
        let (time, line) = tell(1, "requested", requested);
        assert_eq!((time.as_second(), line.from.as_str()), (0, "requested"));
        let intent = |it: &str| json!({"nonce": it, "duration_ms": 1, "output": "gs://o/"});
        let job = |it: &str| json!({"intent": it, "job": format!("customJobs/{it}")});
        tell(1, "intended", intent("a"));
        tell(1, "submitted", job("a"));
        // The leader begins again by itself, in the place of an end.
        tell(2, "retried", json!({"reason": "no quota", "asked_at": asked}));
        let (_, line) = tell(2, "made-up", json!({}));
        assert!(line.text.contains("written by a newer version"), "{}", line.text);
        tell(2, "intended", intent("b"));
        tell(2, "submitted", job("b"));
        tell(
            2,
            "finished",
            json!({"outcome": "failed", "reason": "it\u{1b}[2J broke", "model_uri": null}),
        );
        let (_, line) = tell(3, "retried", json!({"request": request(71), "asked_at": asked}));
        assert_eq!((line.attempt, line.text.as_str()), (3, "retried: by CI job 71 of pipeline 8"));
        tell(3, "intended", intent("c"));
        tell(3, "submitted", job("c"));

        let ci: Vec<_> =
            story.ci_jobs.iter().map(|it| (it.attempt, it.gitlab.job_id, it.fact)).collect();
        assert_eq!(ci, [(1, 70, 0), (3, 71, 8)]);
        let jobs = story.jobs.iter().map(|it| {
            let ended = it.finished.map(|(position, _)| position);
            (it.attempt, it.name.as_str(), it.intended.0, ended)
        });
        let expected = [
            (1, "customJobs/a", 1, Some(3)),
            (2, "customJobs/b", 5, Some(7)),
            (3, "customJobs/c", 9, None),
        ];
        assert_eq!(jobs.collect::<Vec<_>>(), expected);
        assert!(!story.ended);
    }
}
