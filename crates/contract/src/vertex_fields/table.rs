//! The fields of Vertex AI's messages, as `vertex_fields.json` lists them.
//! `vertex_fields.py` writes that file from Google's own Python package.

use std::collections::{BTreeMap, HashMap};
use std::sync::LazyLock;

use serde::Deserialize;

/// Everything that a job of one of the four kinds can hold.
pub(super) static TABLE: LazyLock<Table> = LazyLock::new(|| {
    serde_json::from_str(include_str!("../../vertex_fields.json")).expect("the checked-in table")
});

#[derive(Deserialize)]
pub(super) struct Table {
    pub(super) messages: HashMap<String, Message>,
    pub(super) enums: HashMap<String, Vec<String>>,
}

/// Fields by their JSON name.
pub(super) type Message = BTreeMap<String, Field>;

#[derive(Deserialize)]
#[serde(from = "String")]
pub(super) enum Field {
    /// Only ever set by Vertex AI.
    Output,
    One(Type),
    List(Type),
    Map(Type),
}

pub(super) enum Type {
    String,
    Bool,
    Int32,
    Int64,
    Double,
    Duration,
    Timestamp,
    /// An object of free form.
    Object,
    /// Anything.
    Any,
    /// A message or an enum of the table.
    Named(String),
}

impl From<String> for Field {
    fn from(text: String) -> Self {
        match text.split_once(' ') {
            None if text == "output" => Self::Output,
            None => Self::One(Type::from(text.as_str())),
            Some(("list", of)) => Self::List(of.into()),
            Some(("map", of)) => Self::Map(of.into()),
            Some(_) => unreachable!("{text:?} is no type of the checked-in table"),
        }
    }
}

impl From<&str> for Type {
    fn from(text: &str) -> Self {
        match text {
            "string" => Self::String,
            "bool" => Self::Bool,
            "int32" => Self::Int32,
            "int64" => Self::Int64,
            "double" => Self::Double,
            "duration" => Self::Duration,
            "timestamp" => Self::Timestamp,
            "object" => Self::Object,
            "any" => Self::Any,
            name => Self::Named(name.to_owned()),
        }
    }
}
