//! Preconditions over an object's generation and metageneration.

use super::error::Error;
use super::object::Object;

/// What has to hold for a request to be performed. Generation 0 stands for
/// "there is no such object".
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Preconditions {
    /// The live generation is this one.
    pub(super) generation_is: Option<i64>,
    /// The live generation is not this one.
    pub(super) generation_is_not: Option<i64>,
    /// The live metageneration is this one.
    pub(super) metageneration_is: Option<i64>,
    /// The live metageneration is not this one.
    pub(super) metageneration_is_not: Option<i64>,
    /// There is no such object, whatever else holds: the caller may not replace one.
    pub(super) is_new: bool,
}

impl Preconditions {
    pub(super) fn check_write(&self, live: Option<&Object>) -> Result<(), Error> {
        if !self.matches(live) || !self.differs(live) {
            Err(Error::PreconditionFailed)
        } else if self.is_new && live.is_some() {
            Err(Error::Taken)
        } else {
            Ok(())
        }
    }

    pub(super) fn check_read(&self, live: &Object) -> Result<(), Error> {
        if !self.matches(Some(live)) {
            Err(Error::PreconditionFailed)
        } else if !self.differs(Some(live)) {
            Err(Error::NotModified)
        } else {
            Ok(())
        }
    }

    fn matches(&self, live: Option<&Object>) -> bool {
        let (generation, metageneration) = numbers(live);
        self.generation_is.is_none_or(|it| it == generation)
            && self.metageneration_is.is_none_or(|it| it == metageneration)
    }

    fn differs(&self, live: Option<&Object>) -> bool {
        let (generation, metageneration) = numbers(live);
        self.generation_is_not.is_none_or(|it| it != generation)
            && self.metageneration_is_not.is_none_or(|it| it != metageneration)
    }
}

fn numbers(live: Option<&Object>) -> (i64, i64) {
    live.map_or((0, 0), |it| (it.generation, it.metageneration))
}
