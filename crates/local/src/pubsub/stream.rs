//! One streaming pull: messages out, acknowledgements and deadlines in.
//!
//! The session is the response stream's own state: it lives on the connection's
//! task and ends with it, whoever goes away first.

use std::time::{Duration, Instant};

use futures::{FutureExt as _, Stream, stream};
use googleapis_tonic_google_pubsub_v1::google::pubsub::v1::streaming_pull_response::SubscriptionProperties;
use googleapis_tonic_google_pubsub_v1::google::pubsub::v1::{
    StreamingPullRequest, StreamingPullResponse,
};
use tokio::sync::watch;
use tonic::{Request, Response, Status, Streaming};

use super::PubSub;
use super::core::Error;
use super::grpc::status;
use crate::iam::{Caller, Resource};

/// An empty response this often shows the client that the stream is alive.
const HEARTBEAT: Duration = Duration::from_secs(30);
/// Clients send at least an empty request every 30 s; one that is silent for longer is gone.
const IDLE_MAX: Duration = Duration::from_secs(90);
const FIRST_REQUEST_MAX: Duration = Duration::from_secs(10);

struct Session {
    pubsub: PubSub,
    subscription: String,
    id: u64,
    properties: SubscriptionProperties,
    ack_deadline: Duration,
    requests: Streaming<StreamingPullRequest>,
    changed: watch::Receiver<()>,
    /// Who listens, where that is asked.
    caller: Option<Caller>,
    heard: Instant,
    /// When the client was last sent something; none before the first response.
    sent: Option<Instant>,
}

/// Why a session ends.
enum End {
    /// The client closed its side.
    Closed,
    Failed(Status),
}

impl From<Error> for End {
    fn from(error: Error) -> Self {
        Self::Failed(status(&error))
    }
}

/// Starts a session from the first request.
pub(super) async fn open(
    pubsub: PubSub,
    request: Request<Streaming<StreamingPullRequest>>,
) -> Result<Response<impl Stream<Item = Result<StreamingPullResponse, Status>>>, Status> {
    let caller = request.extensions().get::<Caller>().cloned();
    let mut requests = request.into_inner();
    let first = tokio::time::timeout(FIRST_REQUEST_MAX, requests.message())
        .await
        .map_err(|_| Status::deadline_exceeded("No initial request arrived on the stream."))??
        .ok_or_else(|| {
            Status::invalid_argument("The stream was closed before its initial request.")
        })?;
    let ((id, ack_deadline), properties) = pubsub
        .call(|core, _| Ok((core.open_stream(&first)?, core.properties(&first.subscription)?)))
        .map_err(|error| status(&error))?;
    let changed = pubsub.shared.changed.subscribe();
    let subscription = first.subscription.clone();
    let session = Session {
        pubsub,
        subscription,
        id,
        properties,
        ack_deadline,
        requests,
        changed,
        caller,
        heard: Instant::now(),
        sent: None,
    };
    session.settle(&first).map_err(|error| status(&error))?;
    Ok(Response::new(stream::unfold(Some(session), |session| async {
        let mut session = session?;
        match session.next().await {
            Ok(response) => Some((Ok(response), Some(session))),
            Err(End::Closed) => None,
            Err(End::Failed(status)) => Some((Err(status), None)),
        }
    })))
}

impl Session {
    /// The next response: messages, the greeting, or a heartbeat.
    async fn next(&mut self) -> Result<StreamingPullResponse, End> {
        loop {
            self.changed.borrow_and_update();
            self.check()?;
            // What the client has said comes first, also while there is always more to deliver.
            while let Some(request) = self.requests.message().now_or_never() {
                self.take(request)?;
            }
            let (id, ack_deadline) = (self.id, self.ack_deadline);
            let (received_messages, timer) =
                self.pubsub.poll(&self.subscription, |core, now| {
                    core.stream_pull(now, &self.subscription, id, ack_deadline)
                })?;
            let now = Instant::now();
            let heartbeat = self.sent.map_or(now, |it| it + HEARTBEAT);
            if !received_messages.is_empty() || heartbeat <= now {
                self.sent = Some(now);
                return Ok(StreamingPullResponse {
                    received_messages,
                    subscription_properties: Some(self.properties),
                    ..StreamingPullResponse::default()
                });
            }
            let silence_ends = self.heard + IDLE_MAX;
            if silence_ends <= now {
                return Err(End::Failed(Status::unavailable("The stream was idle for too long.")));
            }
            let until = timer.map_or(heartbeat, |it| it.min(heartbeat)).min(silence_ends);
            tokio::select! {
                request = self.requests.message() => self.take(request)?,
                _ = self.changed.changed() => {}
                () = tokio::time::sleep_until(until.into()) => {}
                () = self.pubsub.shared.stop.cancelled() => {
                    return Err(End::Failed(Status::unavailable("The service is stopping.")));
                }
            }
        }
    }

    /// Whoever loses the permission loses the stream, with the next thing that happens on it.
    fn check(&self) -> Result<(), End> {
        let Some(caller) = &self.caller else { return Ok(()) };
        let on = Resource::Subscription(self.subscription.clone());
        let checked = caller.check("pubsub.subscriptions.consume", &on);
        checked.map_err(|refusal| End::Failed(refusal.status()))
    }

    /// Takes in a request after the first.
    fn take(&mut self, request: Result<Option<StreamingPullRequest>, Status>) -> Result<(), End> {
        let request = request.map_err(End::Failed)?.ok_or(End::Closed)?;
        self.heard = Instant::now();
        let is_initial = !request.subscription.is_empty()
            || request.max_outstanding_messages != 0
            || request.max_outstanding_bytes != 0;
        if is_initial {
            let message =
                "The subscription and flow control may only be set on the initial request.";
            return Err(End::Failed(Status::invalid_argument(message)));
        }
        if request.stream_ack_deadline_seconds != 0 {
            self.ack_deadline = super::core::ack_deadline(request.stream_ack_deadline_seconds)?;
        }
        Ok(self.settle(&request)?)
    }

    fn settle(&self, request: &StreamingPullRequest) -> Result<(), Error> {
        if request.modify_deadline_ack_ids.len() != request.modify_deadline_seconds.len() {
            let message = "modify_deadline_ack_ids and modify_deadline_seconds differ in length.";
            return Err(Error::InvalidArgument(message.to_owned()));
        }
        if !request.ack_ids.is_empty() {
            self.pubsub.acknowledge(&self.subscription, &request.ack_ids)?;
        }
        if request.modify_deadline_ack_ids.is_empty() {
            return Ok(());
        }
        self.pubsub.call(|core, now| {
            for (ack_id, seconds) in
                request.modify_deadline_ack_ids.iter().zip(&request.modify_deadline_seconds)
            {
                core.modify_ack_deadline(
                    now,
                    &self.subscription,
                    std::slice::from_ref(ack_id),
                    *seconds,
                )?;
            }
            Ok(())
        })
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let closed = self.pubsub.call(|core, _| {
            core.close_stream(&self.subscription, self.id);
            Ok(())
        });
        // Only writing can fail here, and what could not be written is written with the next call.
        drop(closed);
    }
}
