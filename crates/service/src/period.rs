//! Times in configurations and on the command line: `500ms`, `15s`, `72h`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use jiff::SignedDuration;
use serde::de::{Deserialize, Deserializer, Error, Visitor};

/// More is a slip, and its end is a time that no clock reaches.
const MAX: Duration = Duration::from_hours(366 * 24);

/// A time between a millisecond and a year, so that no loop spins and no sum overflows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Period(Duration);

impl Period {
    /// A default; its writer keeps it within the limits.
    pub const fn secs(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }

    /// The time.
    pub const fn get(self) -> Duration {
        self.0
    }
}

impl<'de> Deserialize<'de> for Period {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Text)
    }
}

/// Tells of a number what it lacks.
struct Text;

impl Visitor<'_> for Text {
    type Value = Period;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a time with its unit, such as 500ms, 15s or 72h")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Period, E> {
        text.parse().map_err(E::custom)
    }
}

impl FromStr for Period {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        // A calendar's units have no length of their own, and are refused by the type.
        let time = text.parse::<SignedDuration>().ok().and_then(|it| Duration::try_from(it).ok());
        time.filter(|it| (Duration::from_millis(1)..=MAX).contains(it)).map(Self).ok_or_else(|| {
            let text: String = text.chars().take(40).collect();
            format!("{text:?} is not a time between 1ms and a year, such as 500ms, 15s or 72h")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_a_unit_and_limits() {
        let cases = [
            ("1ms", Some(Duration::from_millis(1))),
            ("15s", Some(Duration::from_secs(15))),
            ("1h30m", Some(Duration::from_mins(90))),
            ("8784h", Some(MAX)),
            ("8785h", None),
            ("999us", None),
            ("0s", None),
            ("-1s", None),
            ("15", None),
            ("1mo", None),
            ("99999999999999999999h", None),
            ("", None),
        ];
        for (text, expected) in cases {
            assert_eq!(text.parse().ok().map(Period::get), expected, "{text}");
        }
        let refused = "9".repeat(99).parse::<Period>().unwrap_err();
        assert!(refused.len() < 200, "{refused}");
    }
}
