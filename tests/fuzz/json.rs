//! How JSON from outside goes wrong: other types, missing and repeated keys,
//! numbers that no type holds, nesting without end, and bytes that are no JSON.

use fastrand::Rng;
use serde_json::{Map, Value};

use crate::mutate::{NUMBERS, change_bytes, change_text, pick, size, word};

/// A text that begins with this is printed as it is, without quotes.
const RAW: char = '\u{10fffe}';

/// One of the documents, changed in a few places, as bytes.
pub(crate) fn bytes(rng: &mut Rng, seeds: &[Value]) -> Vec<u8> {
    let mut value = pick(rng, seeds).clone();
    // Some stay as they are: a corpus that is refused would test nothing.
    for _ in 0..rng.usize(..=4) {
        change(rng, &mut value, seeds);
    }
    let mut out = print(rng, &value);
    if rng.u8(..8) == 0 {
        let other = pick(rng, seeds).to_string();
        change_bytes(rng, &mut out, other.as_bytes());
    }
    out
}

/// Changes the document in one place.
pub(crate) fn change(rng: &mut Rng, value: &mut Value, others: &[Value]) {
    let mut other = pick(rng, others).clone();
    let other = descend(rng, &mut other).clone();
    let place = descend(rng, value);
    if let Value::String(text) = place
        && rng.bool()
    {
        return change_text(rng, text, &["true", "gs://b/o", "main", "0s"]);
    }
    match (rng.u8(..10), &mut *place) {
        (0, _) => *place = odd(rng),
        (1, _) => *place = other,
        (2, Value::Array(items)) if !items.is_empty() => {
            drop(items.remove(rng.usize(..items.len())));
        }
        (2 | 3, Value::Object(map)) if !map.is_empty() => {
            drop(map.shift_remove(&key(rng, map)));
        }
        (4, Value::Array(items)) if !items.is_empty() => {
            let item = pick(rng, items).clone();
            items.extend(vec![item; size(rng).min(4_000)]);
        }
        (4, Value::Object(map)) if !map.is_empty() => {
            let mut name = key(rng, map);
            let value = map.shift_remove(&name).expect("one of its keys");
            if rng.bool() {
                name.push_str(word(rng, &["_", "s", ".", "_id", "Spec"]));
            } else {
                change_text(rng, &mut name, &["Spec", "_spec", "id"]);
            }
            map.insert(name, value);
        }
        (5, Value::Object(map)) => {
            if let Value::Object(other) = other {
                map.extend(other);
            } else {
                map.insert("extra".to_owned(), other);
            }
        }
        (6, _) => {
            let (open, close) = *pick(rng, &[("[", "]"), ("{\"a\":", "}"), ("{\"body\":", "}")]);
            let levels = size(rng).min(20_000);
            *place = raw(&format!("{}{place}{}", open.repeat(levels), close.repeat(levels)));
        }
        (7, Value::Array(items)) => rng.shuffle(items),
        (8, Value::Number(_)) => *place = raw(word(rng, &NUMBERS)),
        _ => *place = scalar(rng),
    }
}

/// A random place in the document, itself included.
fn descend<'a>(rng: &mut Rng, value: &'a mut Value) -> &'a mut Value {
    let inside = match value {
        Value::Array(items) => items.len(),
        Value::Object(map) => map.len(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
    };
    if inside == 0 || rng.u8(..8) == 0 {
        return value;
    }
    let at = rng.usize(..inside);
    match value {
        Value::Array(items) => descend(rng, &mut items[at]),
        Value::Object(map) => {
            descend(rng, map.values_mut().nth(at).expect("there are more than that"))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value,
    }
}

fn key(rng: &mut Rng, map: &Map<String, Value>) -> String {
    map.keys().nth(rng.usize(..map.len())).expect("there are more than that").clone()
}

fn scalar(rng: &mut Rng) -> Value {
    match rng.u8(..8) {
        0 => Value::Null,
        1 => rng.bool().into(),
        2 => rng.u64(..).into(),
        3 => rng.i64(..).into(),
        4 => f64::from_bits(rng.u64(..)).into(),
        5 => Value::Array(Vec::new()),
        6 => Value::Object(Map::new()),
        _ => {
            let mut text = "2026-01-31T12:00:00Z".to_owned();
            change_text(rng, &mut text, &["true", "{{ output }}", "0s"]);
            text.into()
        }
    }
}

fn odd(rng: &mut Rng) -> Value {
    match rng.u8(..4) {
        0 => Value::String(word(rng, &NUMBERS).to_owned()),
        1 => raw(word(rng, &["\"\\ud800\"", "\"\\u0000\"", "\"\t\"", "nul", "", "[1,]", "{,}"])),
        2 => scalar(rng),
        _ => raw(word(rng, &NUMBERS)),
    }
}

fn raw(text: &str) -> Value {
    Value::String(format!("{RAW}{}", text.replace(RAW, "")))
}

/// As JSON, with a key repeated now and then.
fn print(rng: &mut Rng, value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    let repeats = rng.u8(..8) == 0;
    write(rng, value, repeats, &mut out);
    out
}

fn write(rng: &mut Rng, value: &Value, repeats: bool, out: &mut Vec<u8>) {
    match value {
        Value::String(text) => match text.strip_prefix(RAW) {
            Some(raw) => out.extend(raw.as_bytes()),
            None => out.extend(value.to_string().as_bytes()),
        },
        Value::Array(items) => {
            out.push(b'[');
            for (at, item) in items.iter().enumerate() {
                out.extend(if at == 0 { "" } else { "," }.as_bytes());
                write(rng, item, repeats, out);
            }
            out.push(b']');
        }
        Value::Object(map) => {
            out.push(b'{');
            for (at, (key, it)) in map.iter().enumerate() {
                for again in 0..=u8::from(repeats && rng.u8(..8) == 0) {
                    out.extend(if at == 0 && again == 0 { "" } else { "," }.as_bytes());
                    out.extend(Value::from(key.as_str()).to_string().as_bytes());
                    out.push(b':');
                    write(rng, it, repeats, out);
                }
            }
            out.push(b'}');
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => out.extend(value.to_string().as_bytes()),
    }
}
