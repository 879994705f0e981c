//! What every remote call shares: its boxed future, its time limit, its times.

use crate::error::{Error, Result};
use google_cloud_gax::Result as SdkResult;
use jiff::Timestamp;
use std::pin::Pin;
use std::time::Duration;

/// A remote call under way.
pub type Call<'a, T> = Pin<Box<dyn Future<Output = Result<T>> + Send + 'a>>;

/// How long the SDK may go on retrying one call.
pub(crate) const RETRY_TIME_MAX: Duration = Duration::from_secs(30);

/// How long one small call may take in all: an attempt that never ends is not
/// bounded by the retry policy.
pub(crate) const CALL_TIME_MAX: Duration = Duration::from_mins(1);

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
