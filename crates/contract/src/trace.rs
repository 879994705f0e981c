//! W3C Trace Context: the trace that a CI job began or was part of. It comes from strangers and
//! decides nothing, so what breaks a rule is passed over in silence.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::text::Invalid;

const RULE: &str = "a traceparent of version 00";
const LENGTH: usize = 55;

/// A `traceparent` of version 00. It is handed on as it came: nobody here records spans of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct TraceParent {
    trace: u128,
    span: u64,
    sampled: bool,
}

impl TraceParent {
    /// The attribute of a Pub/Sub message, as Google's own clients name it.
    pub const ATTRIBUTE: &str = "googclient_traceparent";

    /// A trace that begins here, from random numbers; zero stands for none. It is not sampled:
    /// where nobody records spans, nobody else is asked to.
    pub const fn begin(trace: u128, span: u64) -> Self {
        let (trace, span) = (if trace == 0 { 1 } else { trace }, if span == 0 { 1 } else { span });
        Self { trace, span, sampled: false }
    }

    /// Reads the text of a header, an attribute or a variable. Of the flags only `sampled` has a
    /// meaning, and so only that is kept.
    pub fn parse(text: &str) -> Option<Self> {
        let hex = |part: &str, digits: usize| {
            let plain = part.len() == digits
                && part.bytes().all(|it| matches!(it, b'0'..=b'9' | b'a'..=b'f'));
            plain.then(|| u128::from_str_radix(part, 16).ok()).flatten()
        };
        if text.len() != LENGTH {
            return None;
        }
        let mut parts = text.split('-');
        let mut next = |digits| parts.next().and_then(|it| hex(it, digits));
        let (version, trace) = (next(2)?, next(32)?);
        let (span, flags) = (u64::try_from(next(16)?).ok()?, next(2)?);
        let whole = parts.next().is_none();
        (whole && version == 0 && trace != 0 && span != 0).then_some(Self {
            trace,
            span,
            sampled: flags & 1 == 1,
        })
    }

    /// What the attributes of a message say.
    pub fn of(attributes: &BTreeMap<String, String>) -> Option<Self> {
        attributes.get(Self::ATTRIBUTE).and_then(|it| Self::parse(it))
    }

    /// The trace's id, 32 hex digits.
    pub fn trace_id(self) -> String {
        format!("{:032x}", self.trace)
    }

    /// The id of the span that what happens here belongs to, 16 hex digits.
    pub fn span_id(self) -> String {
        format!("{:016x}", self.span)
    }
}

impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { trace, span, sampled } = self;
        write!(f, "00-{trace:032x}-{span:016x}-{:02x}", u8::from(*sampled))
    }
}

impl From<TraceParent> for String {
    fn from(it: TraceParent) -> Self {
        it.to_string()
    }
}

impl TryFrom<String> for TraceParent {
    type Error = Invalid;

    fn try_from(text: String) -> Result<Self, Invalid> {
        Self::parse(&text).ok_or_else(|| Invalid::new(&text, RULE))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

    #[test]
    fn a_traceparent_is_taken_as_it_is_written_and_anything_else_is_none() {
        let same = |text: &str| (text.to_owned(), Some(text.to_owned()));
        let none = |text: &str| (text.to_owned(), None);
        let zero = "0".repeat(32);
        let cases = [
            same(&format!("00-{TRACE}-b7ad6b7169203331-01")),
            same(&format!("00-{TRACE}-b7ad6b7169203331-00")),
            // Flags that are not defined are not passed on.
            (
                format!("00-{TRACE}-b7ad6b7169203331-ff"),
                Some(format!("00-{TRACE}-b7ad6b7169203331-01")),
            ),
            (
                format!("00-{TRACE}-b7ad6b7169203331-02"),
                Some(format!("00-{TRACE}-b7ad6b7169203331-00")),
            ),
            none(&format!("01-{TRACE}-b7ad6b7169203331-01")),
            none(&format!("ff-{TRACE}-b7ad6b7169203331-01")),
            none(&format!("00-{zero}-b7ad6b7169203331-01")),
            none(&format!("00-{TRACE}-0000000000000000-01")),
            none(&format!("00-{}-b7ad6b7169203331-01", TRACE.to_uppercase())),
            none(&format!("00-{TRACE}-b7ad6b7169203331-01-more")),
            none(&format!("00-{TRACE}-b7ad6b7169203331-0")),
            none(&format!("00-{TRACE}-b7ad6b7169203331-+1")),
            none(&format!("00-+{}-b7ad6b7169203331-01", &TRACE[1..])),
            none(&format!("00_{TRACE}_b7ad6b7169203331_01")),
            none(&format!(" 0-{TRACE}-b7ad6b7169203331-01")),
            none(&format!("00-{TRACE}-b7ad6b7169203331-01\n")),
            none(&format!("00-{}-b7ad6b71692033-0101", &TRACE[..32])),
            none(&format!("00-{}ü-b7ad6b7169203331-01", &TRACE[2..])),
            none(&"-".repeat(LENGTH)),
            none(&"0".repeat(100_000)),
            none(""),
        ];
        for (text, expected) in cases {
            let parsed = TraceParent::parse(&text);
            assert_eq!(parsed.map(|it| it.to_string()), expected, "{text:.80}");
        }
    }

    #[test]
    fn a_new_trace_is_valid_whatever_the_numbers_are() {
        for (trace, span) in [(0, 0), (1, 0), (u128::MAX, u64::MAX)] {
            let begun = TraceParent::begin(trace, span);
            assert_eq!(TraceParent::parse(&begun.to_string()), Some(begun), "{trace} {span}");
        }
    }
}
