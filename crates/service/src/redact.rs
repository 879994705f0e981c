//! Takes ID tokens out of what is shown or kept. Pure.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

/// How every JSON web token begins, and its claims too: a JSON object in base64.
const BEGIN: &[u8] = b"eyJ";
/// Behind the header.
const CLAIMS: &[u8] = b".eyJ";
/// A longer header is not looked into.
const HEADER_MAX: usize = 512;
const REDACTED: &[u8] = b"REDACTED";

/// The bytes, with every JSON web token replaced, whole or cut off after its first dot. It need
/// not be in JSON: what cannot be decoded is redacted too.
pub fn redact(bytes: &[u8]) -> Vec<u8> {
    let mut shown = Vec::with_capacity(bytes.len());
    for word in bytes.chunk_by(|one, next| is_of_a_token(*one) == is_of_a_token(*next)) {
        let token = token_in(word).unwrap_or(word.len());
        shown.extend(&word[..token]);
        shown.extend(if token < word.len() { REDACTED } else { &[] });
    }
    shown
}

/// Where a token begins in a word, which ends with it.
fn token_in(word: &[u8]) -> Option<usize> {
    let dot = word.iter().rposition(|it| *it == b'.')?;
    let claims = word.windows(CLAIMS.len()).rposition(|it| it == CLAIMS).unwrap_or_default();
    let begins = word[..dot].windows(BEGIN.len()).enumerate().filter(|(_, it)| *it == BEGIN);
    // Behind other letters, as in MonkeyJob.tar.gz, it takes more than its first ones.
    let mut begins = begins.map(|(at, _)| at);
    begins.find(|at| *at == 0 || *at < claims || has_header(&word[*at..]))
}

/// Whether a JSON object stands before the first dot.
fn has_header(token: &[u8]) -> bool {
    match token.iter().take(HEADER_MAX).position(|it| *it == b'.') {
        Some(length) => {
            let header = BASE64_URL_SAFE_NO_PAD.decode(&token[..length]);
            header.is_ok_and(|it| serde_json::from_slice::<Map<String, Value>>(&it).is_ok())
        }
        None => true,
    }
}

/// The same for a text.
pub(crate) fn redact_text(text: &str) -> String {
    String::from_utf8(redact(text.as_bytes())).expect("whole characters are replaced")
}

const fn is_of_a_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'=')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_taken_out_wherever_it_stands_and_nothing_else_is_touched() {
        let cases = [
            ("", ""),
            ("nothing", "nothing"),
            ("eyJ", "eyJ"),
            (r#"{"name":"eyJustAName"}"#, r#"{"name":"eyJustAName"}"#),
            (r#"{"id_token":"eyJh.eyJp.s-_g","run":"a"}"#, r#"{"id_token":"REDACTED","run":"a"}"#),
            ("cut off: eyJh.eyJ", "cut off: REDACTED"),
            ("eyJh.eyJp.s eyJh.eyJp.s", "REDACTED REDACTED"),
            ("Bearer-eyJh.eyJp.sig, ü", "Bearer-REDACTED, ü"),
            ("aeyJ eyJh.x", "aeyJ REDACTED"),
            ("gs://b/MonkeyJob.tar.gz, the.MonkeyJob", "gs://b/MonkeyJob.tar.gz, the.MonkeyJob"),
            ("MonkeyJob.tar.eyJob", "MonkREDACTED"),
            // A whole header, {"alg":"RS256"}, whatever it is glued to and however little follows.
            ("MonkeyJob-eyJhbGciOiJSUzI1NiJ9.", "MonkeyJob-REDACTED"),
            ("%20eyJhbGciOiJSUzI1NiJ9.e", "%20REDACTED"),
            ("a.eyJhbGciOiJSUzI1NiJ9.eyJ", "a.REDACTED"),
            // One with a letter too many, before claims.
            ("xeyJhbGciOiJSUzI1NiJ9A.eyJp", "xREDACTED"),
        ];
        for (given, expected) in cases {
            assert_eq!(redact_text(given), expected, "{given}");
        }
        assert_eq!(redact(b"\xffeyJh.eyJp.s\xff"), b"\xffREDACTED\xff");
        let long = format!("x{}{}.", "eyJ", "A".repeat(HEADER_MAX));
        assert_eq!(redact_text(&long), "xREDACTED");
    }

    #[test]
    fn what_was_made_to_take_long_takes_no_time() {
        let nearly = format!("{}.", "xeyJ".repeat(120));
        for word in ["xeyJ.", "xeyJ", "x.eyJ", "eyJ.", &nearly] {
            let many = format!("x{}.", word.repeat((1 << 20) / word.len()));
            redact(many.as_bytes());
        }
    }
}
