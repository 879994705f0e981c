//! Named crash points, for tests: every door of a role, with a point before and
//! behind each call that matters. No release build has any of them.
//!
//! `BRANCHLINE_FAILPOINTS=DIR` switches them on. A process that comes to a point
//! adds a line `<point> <process id>` to `DIR/hits`. Where `DIR/<point>` is a file, one
//! process takes it, by renaming it to `DIR/<point>.<process id>`, and sends itself
//! the signal that it names: `KILL` or `STOP`.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use branchline_contract::JobKind;
use branchline_gcp::pubsub::{
    Deliveries, Delivery, Message, Publish, Receive, Settle, SubscribeOptions,
};
use branchline_gcp::storage::{List, Object, Objects, Page, Source};
use branchline_gcp::vertex::{CreateJob, Job, JobPage, Jobs, Vertex};
use branchline_gcp::{Call, Error};
use branchline_gitlab::{Answering, Api, Call as GitlabCall, Client};
use branchline_ledger::Entry;
use branchline_service::metrics::Role;
use branchline_service::{Doors, Metrics};
use bytes::Bytes;
use jiff::Timestamp;
use rustix::process::{Signal, getpid, kill_process};
use secrecy::SecretString;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::env::Environment;

/// By then a process that stops itself has stopped.
const STOPS_WITHIN: Duration = Duration::from_millis(50);

/// The directory through which a test and the processes talk.
#[derive(Clone, Debug)]
pub(crate) struct Failpoints {
    directory: Arc<PathBuf>,
    /// Both roles receive and settle.
    role: &'static str,
}

/// A door with points around its calls.
#[derive(Clone, Debug)]
struct Guarded<D> {
    door: D,
    points: Failpoints,
}

impl Failpoints {
    /// Those that the environment asks for.
    pub(crate) fn new(environment: &Environment, role: &'static str) -> Option<Self> {
        let directory = environment.get("BRANCHLINE_FAILPOINTS").filter(|it| !it.is_empty())?;
        Some(Self { directory: Arc::new(directory.into()), role })
    }

    /// A worker with points around its doors.
    pub(crate) async fn worker(
        self,
        config: branchline_worker::Config,
        token: Option<SecretString>,
        listener: TcpListener,
        stop: CancellationToken,
    ) -> anyhow::Result<()> {
        let metrics = Metrics::new(Role::Worker, Timestamp::now);
        let doors = self.doors(Doors::connect(&config.google, &metrics).await?);
        let vertex = Vertex::connect(&config.google).await?.observed(metrics.vertex());
        let vertex: Arc<dyn Jobs> = Arc::new(vertex);
        let vertex = Arc::new(self.guard(vertex));
        Ok(branchline_worker::serve(config, doors, vertex, token, listener, metrics, stop).await?)
    }

    /// A notifier with points around its doors.
    pub(crate) async fn notifier(
        self,
        config: branchline_notifier::Config,
        token: SecretString,
        listener: TcpListener,
        stop: CancellationToken,
    ) -> anyhow::Result<()> {
        let metrics = Metrics::new(Role::Notifier, Timestamp::now);
        let doors = self.doors(Doors::connect(&config.google, &metrics).await?);
        let client = Client::new(&config.gitlab, token)?;
        let client = Client::over(Arc::new(self.guard(client.api())), client.host().to_owned());
        Ok(branchline_notifier::serve(config, doors, client, listener, metrics, stop).await?)
    }

    fn doors(&self, doors: Doors) -> Doors {
        let Doors { storage, publisher, subscriber, clock } = doors;
        Doors {
            storage: Arc::new(self.guard(storage)),
            publisher: Arc::new(self.guard(publisher)),
            subscriber: Arc::new(self.guard(subscriber)),
            clock,
        }
    }

    fn guard<D>(&self, door: D) -> Guarded<D> {
        Guarded { door, points: self.clone() }
    }

    /// What a test cannot be told of, it must not pass for: every failure here ends the process.
    fn hit(&self, point: &str) {
        let directory = &self.directory;
        let id = getpid();
        let line = format!("{point} {}\n", id.as_raw_nonzero());
        let hits = OpenOptions::new().append(true).create(true).open(directory.join("hits"));
        hits.and_then(|mut it| it.write_all(line.as_bytes())).unwrap_or_else(|it| end(point, &it));
        let armed = directory.join(point);
        // Read before it is taken: a test clears away what was taken as soon as it sees it.
        let Ok(asked) = fs::read_to_string(&armed) else { return };
        let taken = directory.join(format!("{point}.{}", id.as_raw_nonzero()));
        if fs::rename(armed, taken).is_err() {
            return;
        }
        let signal = match asked.trim() {
            "KILL" => Signal::KILL,
            "STOP" => Signal::STOP,
            other => end(point, &format!("it asks for {other:?}")),
        };
        kill_process(id, signal).unwrap_or_else(|it| end(point, &it));
        // Another thread may take a STOP, and this one would run on past the point until it has.
        thread::sleep(STOPS_WITHIN);
    }

    async fn around<T>(&self, point: Option<String>, call: impl Future<Output = T>) -> T {
        let Some(point) = point else { return call.await };
        self.hit(&format!("{point}.before"));
        let answer = call.await;
        self.hit(&format!("{point}.after"));
        answer
    }
}

/// A panic would be caught, and the process would live on.
fn end(point: &str, why: &dyn std::fmt::Display) -> ! {
    eprintln!("crash point {point}: {why}");
    std::process::abort()
}

/// The point of a write in Cloud Storage. The kinds of small objects have names of their own.
fn written(name: &str, content: Option<&[u8]>) -> Option<String> {
    match (name.split('/').next()?, content) {
        ("runs", Some(content)) => {
            let kind = Entry::decode(content).map_or("unknown", |it| it.fact.body.kind());
            Some(format!("ledger.{kind}"))
        }
        ("queue", Some(_)) => Some("queue.create".to_owned()),
        ("queue", None) => Some("queue.update".to_owned()),
        ("by-token", _) => Some("token".to_owned()),
        ("letters", _) if name.ends_with("/000000.json") => Some("letter".to_owned()),
        ("letters", _) => Some("letter.act".to_owned()),
        ("answers", _) => Some("answer".to_owned()),
        ("lease", _) => Some("lease".to_owned()),
        _ => None,
    }
}

impl Objects for Guarded<Arc<dyn Objects>> {
    fn create<'a>(
        &'a self,
        bucket: &'a str,
        name: &'a str,
        content: Bytes,
        metadata: BTreeMap<String, String>,
    ) -> Call<'a, Object> {
        let point = written(name, Some(&content));
        Box::pin(self.points.around(point, self.door.create(bucket, name, content, metadata)))
    }

    fn replace<'a>(
        &'a self,
        bucket: &'a str,
        name: &'a str,
        if_generation: i64,
        content: Bytes,
    ) -> Call<'a, Object> {
        let point = written(name, Some(&content));
        Box::pin(self.points.around(point, self.door.replace(bucket, name, if_generation, content)))
    }

    fn set_metadata<'a>(
        &'a self,
        bucket: &'a str,
        name: &'a str,
        if_metageneration: i64,
        metadata: BTreeMap<String, String>,
    ) -> Call<'a, Object> {
        let call = self.door.set_metadata(bucket, name, if_metageneration, metadata);
        Box::pin(self.points.around(written(name, None), call))
    }

    fn delete<'a>(&'a self, bucket: &'a str, name: &'a str, if_generation: i64) -> Call<'a, ()> {
        let point = match name.split('/').next() {
            Some("queue") => Some("queue.remove".to_owned()),
            Some("requests") => Some("request.remove".to_owned()),
            _ => None,
        };
        Box::pin(self.points.around(point, self.door.delete(bucket, name, if_generation)))
    }

    fn read<'a>(
        &'a self,
        bucket: &'a str,
        name: &'a str,
        generation: Option<i64>,
        bytes_max: u64,
    ) -> Call<'a, (Object, Bytes)> {
        self.door.read(bucket, name, generation, bytes_max)
    }

    fn stat<'a>(
        &'a self,
        bucket: &'a str,
        name: &'a str,
        generation: Option<i64>,
    ) -> Call<'a, Object> {
        self.door.stat(bucket, name, generation)
    }

    fn list<'a>(&'a self, list: List<'a>) -> Call<'a, Page> {
        self.door.list(list)
    }

    fn read_sha256<'a>(
        &'a self,
        bucket: &'a str,
        name: &'a str,
        generation: i64,
    ) -> Call<'a, ([u8; 32], u64)> {
        self.door.read_sha256(bucket, name, generation)
    }

    fn copy<'a>(&'a self, from: Source<'a>, bucket: &'a str, name: &'a str) -> Call<'a, Object> {
        let call = self.door.copy(from, bucket, name);
        Box::pin(self.points.around(Some("stage".to_owned()), call))
    }
}

impl Jobs for Guarded<Arc<dyn Jobs>> {
    fn warm_up<'a>(&'a self, region: &'a str) -> Call<'a, ()> {
        self.door.warm_up(region)
    }

    fn create<'a>(&'a self, job: CreateJob<'a>) -> Call<'a, Job> {
        Box::pin(self.points.around(Some("create".to_owned()), self.door.create(job)))
    }

    fn get<'a>(&'a self, kind: JobKind, name: &'a str) -> Call<'a, Job> {
        self.door.get(kind, name)
    }

    fn list<'a>(
        &'a self,
        kind: JobKind,
        project: &'a str,
        region: &'a str,
        filter: &'a str,
        page_token: Option<String>,
    ) -> Call<'a, JobPage> {
        self.door.list(kind, project, region, filter, page_token)
    }

    fn cancel<'a>(&'a self, kind: JobKind, name: &'a str) -> Call<'a, ()> {
        Box::pin(self.points.around(Some("cancel".to_owned()), self.door.cancel(kind, name)))
    }
}

impl Publish for Guarded<Arc<dyn Publish>> {
    fn publish<'a>(&'a self, topic: &'a str, message: Message) -> Call<'a, String> {
        Box::pin(self.points.around(Some("publish".to_owned()), self.door.publish(topic, message)))
    }
}

impl Receive for Guarded<Arc<dyn Receive>> {
    fn subscribe(&self, subscription: &str, options: SubscribeOptions) -> Deliveries {
        let deliveries = self.door.subscribe(subscription, options);
        let (sender, received) = mpsc::channel(1);
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn(forward(deliveries, self.points.clone(), sender, stopped));
        Deliveries::new(received, stop, task)
    }
}

/// Hands on what is received, until a stop has brought everything out.
async fn forward(
    mut deliveries: Deliveries,
    points: Failpoints,
    sender: mpsc::Sender<Result<Delivery, Error>>,
    mut stopped: watch::Receiver<bool>,
) {
    let mut stopping = false;
    loop {
        let next = tokio::select! {
            biased;
            next = deliveries.recv() => next,
            _ = stopped.wait_for(|it| *it), if !stopping => {
                stopping = true;
                deliveries.stop();
                continue;
            }
        };
        let Some(next) = next else { break };
        let next = next.map(|mut delivery| {
            points.hit(&format!("{}.receive", points.role));
            delivery.lease = Box::new(Guarded { door: delivery.lease, points: points.clone() });
            delivery
        });
        if sender.send(next).await.is_err() {
            break;
        }
    }
    drop(sender);
    deliveries.settled().await;
}

impl Settle for Guarded<Box<dyn Settle>> {
    fn ack(self: Box<Self>) {
        self.points.hit(&format!("{}.ack", self.points.role));
        self.door.ack();
    }

    fn nack(self: Box<Self>) {
        self.points.hit(&format!("{}.nack", self.points.role));
        self.door.nack();
    }
}

impl Api for Guarded<Arc<dyn Api>> {
    fn call<'a>(&'a self, call: GitlabCall<'a>) -> Answering<'a> {
        let writes = call.body.is_some();
        let point = match call.path.rsplit('/').find(|it| it.parse::<u64>().is_err()) {
            Some("notes") if writes => Some("note".to_owned()),
            _ if writes && call.path.contains("/statuses/") => Some("status".to_owned()),
            _ => None,
        };
        Box::pin(self.points.around(point, self.door.call(call)))
    }
}
