//! A YAML document as a tree that knows its lines. What breaks a rule can be taken out of it, and
//! something be put where nothing is, so that the rest of it can be read all the same.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Number, Value};
use serde_path_to_error::{Path, Segment};
use serde_saphyr::Spanned;

/// A value, and the line on which it begins; its key, where it has one. The whole has none.
pub(super) struct Node {
    line: u64,
    kind: Kind,
}

enum Kind {
    Null,
    Bool(bool),
    Number(Number),
    Text(String),
    /// Items, with the numbers that they have in the file.
    List(Vec<(usize, Node)>),
    Map(Vec<(String, Node)>),
}

/// The way to a value in the file.
pub(super) type Place = Vec<Step>;

/// From a value to one in it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Step {
    Key(String),
    Item(usize),
}

/// A place as people read it, or nothing for the whole.
pub(super) fn shown(place: &[Step]) -> String {
    let mut text = String::new();
    for step in place {
        match step {
            Step::Key(key) if text.is_empty() => text.push_str(key),
            Step::Key(key) => text.extend([".", key]),
            Step::Item(number) => text.extend(["[", &number.to_string(), "]"]),
        }
    }
    text
}

impl Node {
    /// Reads YAML 1.2: `y` and `no` are texts. A file that says nothing is an empty mapping.
    pub(super) fn parse(text: &str) -> Result<Self, serde_saphyr::Error> {
        let options = serde_saphyr::options! { strict_booleans: true };
        let mut root: Self = serde_saphyr::from_str_with_options(text, options)?;
        root.line = 0;
        if let Kind::Null = root.kind {
            root.kind = Kind::Map(Vec::new());
        }
        Ok(root)
    }

    /// What it says now.
    pub(super) fn value(&self) -> Value {
        match &self.kind {
            Kind::Null => Value::Null,
            Kind::Bool(value) => Value::Bool(*value),
            Kind::Number(value) => Value::Number(value.clone()),
            Kind::Text(value) => Value::String(value.clone()),
            Kind::List(items) => items.iter().map(|(_, it)| it.value()).collect(),
            Kind::Map(entries) => entries.iter().map(|(key, it)| (key, it.value())).collect(),
        }
    }

    /// The keys at its top.
    pub(super) fn keys(&self) -> impl Iterator<Item = &String> {
        let entries = if let Kind::Map(entries) = &self.kind { entries.as_slice() } else { &[] };
        entries.iter().map(|(key, _)| key)
    }

    /// The place in the file of what a path leads to now, or as much of it as is there.
    pub(super) fn place(&self, path: &Path) -> Place {
        let (mut at, mut place) = (self, Place::new());
        for segment in path {
            let next = match (&at.kind, segment) {
                (Kind::List(items), Segment::Seq { index }) => {
                    items.get(*index).map(|(number, it)| (Step::Item(*number), it))
                }
                (Kind::Map(entries), Segment::Map { key }) => {
                    let found = entries.iter().find(|(it, _)| it == key);
                    found.map(|(key, it)| (Step::Key(key.clone()), it))
                }
                _ => None,
            };
            let Some((step, node)) = next else { break };
            place.push(step);
            at = node;
        }
        place
    }

    /// The line of a place; of what it would be in, where nothing is there.
    pub(super) fn line(&self, place: &[Step]) -> u64 {
        let next = place.split_first().and_then(|(step, rest)| Some((self.child(step)?, rest)));
        next.map_or(self.line, |(node, rest)| node.line(rest))
    }

    /// Takes something out. `false` where nothing can be.
    pub(super) fn remove(&mut self, place: &[Step]) -> bool {
        let Some((last, above)) = place.split_last() else { return false };
        match (self.at(above).map(|it| &mut it.kind), last) {
            (Some(Kind::List(items)), Step::Item(number)) => items.retain(|(it, _)| it != number),
            (Some(Kind::Map(entries)), Step::Key(key)) => entries.retain(|(it, _)| it != key),
            _ => return false,
        }
        true
    }

    /// Puts something empty at a key, of the kind with that number; whatever is there goes. `false`
    /// where there is no such kind.
    pub(super) fn put(&mut self, place: &[Step], kind: usize) -> bool {
        let kind = match kind {
            0 => Kind::Text(String::new()),
            1 => Kind::List(Vec::new()),
            2 => Kind::Map(Vec::new()),
            3 => Kind::Number(1.into()),
            _ => return false,
        };
        if !self.remove(place) {
            return false;
        }
        let Some((Step::Key(key), above)) = place.split_last() else { return false };
        let Some(Self { line, kind: Kind::Map(entries) }) = self.at(above) else { return false };
        entries.push((key.clone(), Self { line: *line, kind }));
        true
    }

    fn child(&self, step: &Step) -> Option<&Self> {
        match (&self.kind, step) {
            (Kind::List(items), Step::Item(number)) => {
                items.iter().find(|(it, _)| it == number).map(|(_, it)| it)
            }
            (Kind::Map(entries), Step::Key(key)) => {
                entries.iter().find(|(it, _)| it == key).map(|(_, it)| it)
            }
            _ => None,
        }
    }

    fn at(&mut self, place: &[Step]) -> Option<&mut Self> {
        let Some((step, rest)) = place.split_first() else { return Some(self) };
        let child = match (&mut self.kind, step) {
            (Kind::List(items), Step::Item(number)) => {
                items.iter_mut().find(|(it, _)| it == number).map(|(_, it)| it)
            }
            (Kind::Map(entries), Step::Key(key)) => {
                entries.iter_mut().find(|(it, _)| it == key).map(|(_, it)| it)
            }
            _ => None,
        };
        child?.at(rest)
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Spanned { value: kind, referenced, .. } = Spanned::deserialize(deserializer)?;
        Ok(Self { line: referenced.line(), kind })
    }
}

impl<'de> Deserialize<'de> for Kind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Anything)
    }
}

struct Anything;

impl<'de> Visitor<'de> for Anything {
    type Value = Kind;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Kind, E> {
        Ok(Kind::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Kind, E> {
        Ok(Kind::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Kind, E> {
        Ok(Kind::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Kind, E> {
        Ok(Kind::Number(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Kind, E> {
        Ok(Number::from_f64(value).map_or(Kind::Null, Kind::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Kind, E> {
        Ok(Kind::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Kind, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = list.next_element()? {
            items.push((items.len(), item));
        }
        // An alias may stand for many.
        items.shrink_to_fit();
        Ok(Kind::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Kind, A::Error> {
        let mut entries = Vec::new();
        while let Some((key, mut node)) = map.next_entry::<Spanned<String>, Node>()? {
            node.line = key.referenced.line();
            entries.push((key.value, node));
        }
        entries.shrink_to_fit();
        Ok(Kind::Map(entries))
    }
}
