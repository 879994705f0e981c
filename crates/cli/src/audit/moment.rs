//! Times on the command line, and the span between two of them.

use branchline_gcp::storage::Object;
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

/// Reads a time, or a date for its beginning in UTC.
pub(crate) fn moment(text: &str) -> Result<Timestamp, String> {
    let date = || text.parse::<Date>().ok()?.to_zoned(TimeZone::UTC).ok();
    match text.parse::<Timestamp>() {
        Ok(time) => Ok(time),
        Err(_) if text.contains(['T', ' ']) => {
            Err("it is not a time such as 2026-11-23T12:00:00Z; is the zone missing?".to_owned())
        }
        Err(_) => date()
            .map(|it| it.timestamp())
            .ok_or_else(|| "it is neither 2026-11-23T12:00:00Z nor 2026-11-23".to_owned()),
    }
}

/// Whether Cloud Storage took the object in within the span; where it does not say, too.
/// The time that a fact states is its writer's, and could be any.
pub(crate) fn is_within(object: &Object, since: Timestamp, until: Option<Timestamp>) -> bool {
    object.created.is_none_or(|it| it >= since && until.is_none_or(|until| it < until))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_a_time_with_a_zone_or_a_date() {
        let cases = [
            ("2026-11-23T12:00:00Z", Some("2026-11-23T12:00:00Z")),
            ("2026-11-23T12:00:00+02:00", Some("2026-11-23T10:00:00Z")),
            ("2026-11-23", Some("2026-11-23T00:00:00Z")),
            ("2026-11-23T12:00:00", None),
            ("2026-11-31", None),
            ("yesterday", None),
        ];
        for (text, expected) in cases {
            let actual = moment(text).ok().map(|it| it.to_string());
            assert_eq!(actual.as_deref(), expected, "{text}");
        }
    }
}
