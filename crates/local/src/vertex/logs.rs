//! What training processes print: kept per job, in memory, up to a bound, and told to Cloud Logging.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use tokio::io::{AsyncRead, AsyncReadExt};

use super::place::project_of;
use crate::logging::{Entry, Logging, Payload};

/// Bytes of text kept per job; the oldest lines go first.
const BYTES_MAX: usize = 1 << 20;

/// Bytes of one line; a longer one is kept in pieces.
const LINE_MAX: usize = 16 << 10;

/// What a line costs beside its text.
const LINE_COST: usize = 64;

/// The stream that a line was printed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard output; Cloud Logging shows it as INFO.
    Stdout,
    /// Standard error; Cloud Logging shows it as ERROR.
    Stderr,
}

/// One line that a training process printed.
#[derive(Clone, Debug)]
pub struct LogLine {
    /// When it was read.
    pub time: Timestamp,
    /// The process: `workerpool0-0`, a trial's or a pipeline task's name.
    pub task: String,
    /// Where it was printed to.
    pub stream: Stream,
    /// The line without its end.
    pub text: String,
}

/// The lines of all jobs by the job's name.
#[derive(Clone, Default)]
pub(super) struct Logs {
    lines: Arc<Mutex<HashMap<String, JobLines>>>,
    /// Where clients find them.
    pub(super) logging: Logging,
}

/// A process as Cloud Logging knows it.
#[derive(Clone, Debug)]
pub(super) struct Replica {
    /// Id of the custom job, which another job may have made.
    pub(super) custom_job: String,
    /// Its name there: `workerpool0-0`.
    pub(super) name: String,
}

#[derive(Debug, Default)]
struct JobLines {
    lines: VecDeque<LogLine>,
    bytes: usize,
}

impl Logs {
    pub(super) fn get(&self, job: &str) -> Vec<LogLine> {
        self.lock().get(job).map(|job| job.lines.iter().cloned().collect()).unwrap_or_default()
    }

    pub(super) fn remove(&self, job: &str) {
        self.lock().remove(job);
    }

    /// The log of one process.
    pub(super) fn writer(&self, job: &str, task: &str, replica: Replica) -> LogWriter {
        LogWriter { logs: self.clone(), job: job.to_owned(), task: task.to_owned(), replica }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, JobLines>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where one process's lines go.
#[derive(Clone)]
pub(super) struct LogWriter {
    logs: Logs,
    job: String,
    task: String,
    replica: Replica,
}

impl std::fmt::Debug for LogWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LogWriter").field("job", &self.job).finish_non_exhaustive()
    }
}

impl Stream {
    const fn severity(self) -> &'static str {
        match self {
            Self::Stdout => "INFO",
            Self::Stderr => "ERROR",
        }
    }
}

impl LogWriter {
    pub(super) fn line(&self, stream: Stream, text: &[u8]) {
        let text = String::from_utf8_lossy(text).into_owned();
        let Replica { custom_job, name } = &self.replica;
        let payload = Payload::Text(text.clone());
        let entry = Entry::new(project_of(&self.job), name, stream.severity(), payload);
        let labels = [("job_id", custom_job.clone()), ("task_name", name.clone())];
        self.logs.logging.write(entry.of("ml_job", labels));
        let mut logs = self.logs.lock();
        let job = logs.entry(self.job.clone()).or_default();
        job.bytes += text.len() + LINE_COST;
        let task = self.task.clone();
        job.lines.push_back(LogLine { time: Timestamp::now(), task, stream, text });
        while job.bytes > BYTES_MAX {
            let Some(oldest) = job.lines.pop_front() else {
                break;
            };
            job.bytes -= oldest.text.len() + LINE_COST;
        }
    }

    /// Keeps everything that `source` says until it ends.
    pub(super) async fn copy(self, stream: Stream, mut source: impl AsyncRead + Unpin) {
        let mut line = Vec::new();
        let mut chunk = [0; 4096];
        // A stream that cannot be read has ended as far as its log goes.
        while let Ok(read @ 1..) = source.read(&mut chunk).await {
            for byte in &chunk[..read] {
                if *byte == b'\n' {
                    self.line(stream, &line);
                    line.clear();
                    continue;
                }
                line.push(*byte);
                if line.len() == LINE_MAX {
                    self.line(stream, &line);
                    line.clear();
                }
            }
        }
        if !line.is_empty() {
            self.line(stream, &line);
        }
    }
}
