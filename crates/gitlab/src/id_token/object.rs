//! A segment of a token: a JSON object whose repeated names are noticed. Pure.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::Value;

/// Its fields; of a repeated one, the last.
#[derive(Default)]
pub(super) struct Object {
    fields: BTreeMap<String, Value>,
    duplicate: Option<String>,
}

impl Object {
    /// Reads a segment, or nothing where it is no JSON object in base64url.
    pub(super) fn decode(segment: &str) -> Option<Self> {
        serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(segment).ok()?).ok()
    }

    /// A field that is there.
    pub(super) fn get(&self, name: &str) -> Option<&Value> {
        self.fields.get(name)
    }

    /// A name that is there twice.
    pub(super) fn duplicate(&self) -> Option<&str> {
        self.duplicate.as_deref()
    }
}

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Fields)
    }
}

struct Fields;

impl<'de> Visitor<'de> for Fields {
    type Value = Object;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object, A::Error> {
        let mut object = Object::default();
        while let Some((name, value)) = map.next_entry::<String, Value>()? {
            if object.fields.insert(name.clone(), value).is_some() {
                object.duplicate = Some(name);
            }
        }
        Ok(object)
    }
}
