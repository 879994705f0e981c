//! Whether a message may move to a dead-letter topic: a question to somebody else, for the core
//! itself knows nobody.

use std::fmt;
use std::sync::Arc;

/// Answers for a subscription and a topic.
type Allows = Arc<dyn Fn(&str, &str) -> bool + Send + Sync>;

/// Who is asked; at first nobody, and every message may.
#[derive(Clone, Default)]
pub(in super::super) struct Forwarding(Option<Allows>);

impl Forwarding {
    pub(in super::super) fn new(
        allows: impl Fn(&str, &str) -> bool + Send + Sync + 'static,
    ) -> Self {
        Self(Some(Arc::new(allows)))
    }

    pub(super) fn allows(&self, subscription: &str, topic: &str) -> bool {
        self.0.as_ref().is_none_or(|allows| allows(subscription, topic))
    }
}

impl fmt::Debug for Forwarding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Forwarding")
    }
}
