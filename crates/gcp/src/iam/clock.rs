//! What an answer tells of the time.

use std::time::{SystemTime, UNIX_EPOCH};

use reqwest::header::{DATE, HeaderMap};

/// By how many seconds a clock is ahead of whoever sent an answer.
pub(super) fn ahead(headers: &HeaderMap, now: SystemTime) -> Option<i64> {
    let date = headers.get(DATE)?.to_str().ok()?;
    let theirs = jiff::fmt::rfc2822::parse(date).ok()?.timestamp().as_second();
    let now = now.duration_since(UNIX_EPOCH).ok()?.as_secs();
    Some(i64::try_from(now).ok()?.saturating_sub(theirs))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_clock_is_compared_with_whoever_answers() {
        let now = UNIX_EPOCH + Duration::from_secs(1_764_165_601);
        let cases = [
            (Some("Wed, 26 Nov 2025 14:00:01 GMT"), Some(0)),
            (Some("Wed, 26 Nov 2025 13:58:01 GMT"), Some(120)),
            (Some("Wed, 26 Nov 2025 14:01:01 GMT"), Some(-60)),
            (Some("yesterday"), None),
            (None, None),
        ];
        for (date, expected) in cases {
            let mut headers = HeaderMap::new();
            headers.extend(date.map(|it| (DATE, it.parse().unwrap())));
            assert_eq!(ahead(&headers, now), expected, "{date:?}");
        }
    }
}
