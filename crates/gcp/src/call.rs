//! What every remote call shares: its boxed future, its time limit, its times.

use crate::error::{Class, Error, Result};
use google_cloud_gax::Result as SdkResult;
use jiff::Timestamp;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// A remote call under way.
pub type Call<'a, T> = Pin<Box<dyn Future<Output = Result<T>> + Send + 'a>>;

/// How long the SDK may go on retrying one call.
pub(crate) const RETRY_TIME_MAX: Duration = Duration::from_secs(30);

/// How long one small call may take in all: an attempt that never ends is not
/// bounded by the retry policy.
pub(crate) const CALL_TIME_MAX: Duration = Duration::from_mins(1);

/// Told of every call that has ended. A door without one tells nobody.
#[derive(Clone, Default)]
pub struct Observer(Option<Arc<dyn Fn(Observed) + Send + Sync>>);

/// A call that has ended.
#[derive(Clone, Copy, Debug)]
pub struct Observed {
    /// What was asked: one of the few words that a door knows.
    pub operation: &'static str,
    /// How it failed, if it did.
    pub failure: Option<Class>,
    /// How long it took, repeats by the SDK included.
    pub took: Duration,
}

impl Observer {
    /// Tells `this`.
    pub fn new(this: impl Fn(Observed) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(this)))
    }

    /// Awaits a call, and tells of it. One that nobody waits for any more is not told of.
    pub(crate) async fn watch<T>(
        &self,
        operation: &'static str,
        call: impl Future<Output = Result<T>> + Send,
    ) -> Result<T> {
        let Some(tell) = &self.0 else { return call.await };
        let started = Instant::now();
        let answer = call.await;
        let failure = answer.as_ref().err().map(Error::class);
        tell(Observed { operation, failure, took: started.elapsed() });
        answer
    }
}

impl fmt::Debug for Observer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Observer").field(&self.0.is_some()).finish()
    }
}

/// Awaits `call` for at most `time_max` and says what was being done when it
/// fails. Boxed once more, because the SDK's futures take tens of kilobytes.
pub(crate) fn bounded<'a, T: 'a>(
    doing: String,
    time_max: Duration,
    call: impl Future<Output = SdkResult<T>> + Send + 'a,
) -> Call<'a, T> {
    Box::pin(async move {
        match tokio::time::timeout(time_max, call).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(source)) => Err(Error::api(doing, source)),
            Err(_) => Err(Error::late(doing, time_max)),
        }
    })
}

/// A time from a server; one that no calendar holds is as good as none.
pub(crate) fn timestamp(time: Option<google_cloud_wkt::Timestamp>) -> Option<Timestamp> {
    time.and_then(|it| Timestamp::new(it.seconds(), it.nanos()).ok())
}
