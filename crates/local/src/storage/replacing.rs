//! Whether a caller may write over an object that is there: that takes more than to make one.

use super::error::Error;
use super::precondition::Preconditions;
use crate::iam::{self, Caller, Refusal, Resource};

/// What the caller of a write is told, should it find an object in its place.
pub(super) struct Replacing(Option<Refusal>);

impl Replacing {
    /// Without anybody who asks, everybody may.
    pub(super) fn of(caller: Option<&Caller>, bucket: &str, name: &str) -> Self {
        let on = Resource::Object { bucket: bucket.to_owned(), name: name.to_owned() };
        Self(caller.and_then(|it| it.check("storage.objects.delete", &on).err()))
    }

    /// Adds to what has to hold for the write.
    ///
    /// An object that is there breaks a condition on its generation first: the order in which the
    /// real service looks is not known.
    pub(super) fn add_to(&self, when: &mut Preconditions) {
        when.is_new = self.0.is_some();
    }

    /// Says why the write has failed.
    pub(super) fn explain(self, error: Error) -> Error {
        match (error, self.0) {
            (Error::Taken, Some(refusal)) => iam::Error::from(refusal).into(),
            (other, _) => other,
        }
    }
}
