//! What crosses the wire: events, identifiers, artifacts and origins.
