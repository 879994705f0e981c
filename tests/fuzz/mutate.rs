//! How bytes and texts from outside go wrong.

use fastrand::Rng;

/// Longer inputs only take longer.
const BYTES_MAX: usize = 256 << 10;

/// What Unicode, YAML, URLs, markdown and shells make something of.
const FRAGMENTS: [&str; 56] = [
    "\0",
    "\t",
    "\n",
    "\r\n",
    " ",
    "\u{a0}",
    "\u{ad}",
    "\u{85}",
    "\u{300}",
    "\u{200b}",
    "\u{200d}",
    "\u{2028}",
    "\u{202e}",
    "\u{2066}",
    "\u{feff}",
    "\u{fffd}",
    "\u{10ffff}",
    "\u{e0041}",
    "ß",
    "İ",
    "ﬀ",
    "e\u{301}",
    "𝟙",
    "日本",
    "🏳️‍🌈",
    "{{",
    "}}",
    "{{ output }}",
    "{{ artifacts.data.uri }}",
    "{{$.inputs}}",
    "..",
    "/",
    "\\",
    "//",
    "%2F",
    "%00",
    "%",
    "&",
    "=",
    "?",
    "#",
    ":",
    "@root",
    "/close",
    "\n/close\n",
    "|",
    "`",
    "``",
    "<!--",
    "-->",
    "gs://",
    "https://",
    "-",
    "\"",
    "'",
    "$`x`$",
];

/// Numbers at the edges of what types hold, as they are written.
pub(crate) const NUMBERS: [&str; 24] = [
    "0",
    "-0",
    "-1",
    "1e400",
    "-1e400",
    "1e-400",
    "0.1e1",
    "1E5",
    "00",
    "+1",
    ".5",
    "5.",
    "NaN",
    "-Infinity",
    "4294967295",
    "4294967296",
    "9007199254740993",
    "9223372036854775807",
    "9223372036854775808",
    "18446744073709551615",
    "18446744073709551616",
    "-9223372036854775809",
    "0.30000000000000004",
    "2.2250738585072011e-308",
];

/// One of several.
pub(crate) fn pick<'a, T>(rng: &mut Rng, of: &'a [T]) -> &'a T {
    &of[rng.usize(..of.len())]
}

/// One of several words.
pub(crate) fn word<'a>(rng: &mut Rng, of: &[&'a str]) -> &'a str {
    of[rng.usize(..of.len())]
}

/// One of the texts, changed in up to four places, or as it is.
pub(crate) fn text(rng: &mut Rng, seeds: &[&str]) -> String {
    let mut text = word(rng, seeds).to_owned();
    for _ in 0..rng.usize(..=4) {
        change_text(rng, &mut text, seeds);
    }
    text
}

/// The same, for what comes beside an input: headers, attributes, metadata. It is
/// short, because memory is measured against the input alone.
pub(crate) fn short_text(rng: &mut Rng, seeds: &[&str]) -> String {
    let mut text = text(rng, seeds);
    text.truncate(text.floor_char_boundary(1_024));
    text
}

/// Changes the text in one place.
pub(crate) fn change_text(rng: &mut Rng, text: &mut String, others: &[&str]) {
    let (from, to) = (place(rng, text), place(rng, text));
    let (from, to) = (from.min(to), from.max(to));
    match rng.u8(..8) {
        0 => text.replace_range(from..to, ""),
        1 => text.insert_str(from, word(rng, &FRAGMENTS)),
        2 => text.replace_range(from..to, word(rng, &FRAGMENTS)),
        3 => text.replace_range(from..to, word(rng, &NUMBERS)),
        4 if rng.bool() => text.insert(from, rng.char(..)),
        4 => text.insert(from, rng.char(' '..='~')),
        5 => {
            let other = word(rng, others);
            let (start, end) = (place(rng, other), place(rng, other));
            text.insert_str(from, &other[start.min(end)..start.max(end)]);
        }
        6 => {
            let part = text[from..to].to_owned();
            text.insert_str(to, &part);
        }
        _ => {
            let part = text[from..to].repeat(size(rng) / (to - from + 1));
            text.insert_str(from, &part);
        }
    }
    text.truncate(text.floor_char_boundary(BYTES_MAX));
}

/// A length: mostly small, now and then a blow-up.
pub(crate) fn size(rng: &mut Rng) -> usize {
    match rng.u16(..) {
        0..=15 => rng.usize(..BYTES_MAX),
        16..=2_000 => rng.usize(..2_000),
        _ => rng.usize(..24),
    }
}

/// Changes bytes in one place, whatever they mean.
pub(crate) fn change_bytes(rng: &mut Rng, bytes: &mut Vec<u8>, other: &[u8]) {
    let (from, to) = (rng.usize(..=bytes.len()), rng.usize(..=bytes.len()));
    let (from, to) = (from.min(to), from.max(to));
    match rng.u8(..6) {
        0 if from < bytes.len() => bytes[from] ^= 1 << rng.u8(..8),
        1 if from < bytes.len() => bytes[from] = rng.u8(..),
        2 => drop(bytes.drain(from..to.min(from + size(rng)))),
        3 => bytes.truncate(from),
        4 if !other.is_empty() => {
            let start = rng.usize(..other.len());
            let end = other.len().min(start + size(rng));
            drop(bytes.splice(from..from, other[start..end].iter().copied()));
        }
        _ => {
            let part = bytes[from..to.min(from + size(rng))].to_vec();
            drop(bytes.splice(from..from, part));
        }
    }
    bytes.truncate(BYTES_MAX);
}

fn place(rng: &mut Rng, text: &str) -> usize {
    text.floor_char_boundary(rng.usize(..=text.len()))
}
