//! Takes ID tokens out of what is shown or kept. Pure.

/// How every JSON web token begins: a JSON object in base64.
const BEGIN: &[u8] = b"eyJ";
const REDACTED: &[u8] = b"REDACTED";

/// The bytes, with every JSON web token replaced, whole or cut off after its first dot. It need
/// not be in JSON: what cannot be decoded is redacted too.
pub fn redact(bytes: &[u8]) -> Vec<u8> {
    let mut shown = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some(at) = rest.windows(BEGIN.len()).position(|it| it == BEGIN) {
        let (before, token) = rest.split_at(at);
        let length = token.iter().take_while(|it| is_of_a_token(**it)).count();
        let (token, after) = token.split_at(length);
        shown.extend(before);
        shown.extend(if token.contains(&b'.') { REDACTED } else { token });
        rest = after;
    }
    shown.extend(rest);
    shown
}

/// The same for a text.
pub fn redact_text(text: &str) -> String {
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
        ];
        for (given, expected) in cases {
            assert_eq!(redact_text(given), expected, "{given}");
        }
        assert_eq!(redact(b"\xffeyJh.eyJp.s\xff"), b"\xffREDACTED\xff");
    }
}
