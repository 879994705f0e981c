//! GitLab's request limit per user and minute, and the headers that tell of it.

use std::collections::BTreeMap;

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use jiff::{Timestamp, tz::TimeZone};

pub(in super::super) struct RateLimit {
    pub(in super::super) per_minute: u32,
    /// Requests by user in the minute that began at `window`.
    observed: BTreeMap<u64, u32>,
    window: i64,
}

impl Default for RateLimit {
    fn default() -> Self {
        // High enough that only a run-away client meets it.
        Self { per_minute: 100_000, observed: BTreeMap::new(), window: 0 }
    }
}

impl RateLimit {
    pub(super) fn count(&mut self, user_id: u64) -> Verdict {
        let now = Timestamp::now().as_second();
        let window = now - now.rem_euclid(60);
        if self.window != window {
            self.window = window;
            self.observed.clear();
        }
        let observed = self.observed.entry(user_id).or_default();
        *observed = observed.saturating_add(1);
        Verdict { limit: self.per_minute, observed: *observed, now, reset: window + 60 }
    }
}

/// What the limit says about one request.
pub(super) struct Verdict {
    limit: u32,
    observed: u32,
    now: i64,
    reset: i64,
}

impl Verdict {
    pub(super) const fn exceeded(&self) -> bool {
        self.observed > self.limit
    }

    pub(super) fn write(&self, headers: &mut HeaderMap) {
        let mut set = |name: &'static str, value: String| {
            let value = HeaderValue::try_from(value).expect("digits and dates are valid");
            headers.insert(HeaderName::from_static(name), value);
        };
        set("ratelimit-name", "throttle_authenticated_api".to_owned());
        set("ratelimit-limit", self.limit.to_string());
        set("ratelimit-observed", self.observed.to_string());
        set("ratelimit-remaining", self.limit.saturating_sub(self.observed).to_string());
        set("ratelimit-reset", self.reset.to_string());
        if self.exceeded() {
            let reset = Timestamp::from_second(self.reset).unwrap_or(Timestamp::MAX);
            let reset = reset.to_zoned(TimeZone::UTC).strftime("%a, %d %b %Y %H:%M:%S GMT");
            set("ratelimit-resettime", reset.to_string());
            set("retry-after", (self.reset - self.now).to_string());
        }
    }
}
