//! What a round was not allowed to do: no round fails over it, since other runs go on, and readiness
//! tells of it.

use std::sync::{Arc, Mutex};

use branchline_gcp::{Class, Error};
use branchline_service::health::denial;
use tokio::time::Instant;

use super::leader::PAUSE;

/// The last refusal for want of a permission, and until when it is told. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct Denied(Arc<Mutex<Option<(String, Instant)>>>);

impl Denied {
    /// Takes note of an error, if it is one. What met it tries again after a pause.
    pub(super) fn note(&self, error: &Error) {
        if error.class() == Class::Permission {
            let told = (denial(error), Instant::now() + 2 * PAUSE);
            *self.0.lock().expect("no holder panics") = Some(told);
        }
    }

    /// What is missing, as far as that is known by now.
    pub(super) fn sentence(&self) -> Option<String> {
        let last = self.0.lock().expect("no holder panics");
        last.as_ref().filter(|it| Instant::now() < it.1).map(|it| it.0.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_refusal_is_told_until_it_is_met_no_more() {
        // The codes are those of `google.rpc`.
        let unavailable = Error::answered("listing", 14, "it does not answer");
        let forbidden = Error::answered("listing", 7, "Permission 'a.b.list' denied");
        let denied = Denied::default();
        denied.note(&unavailable);
        assert_eq!(denied.sentence(), None);
        denied.note(&forbidden);
        tokio::time::advance(PAUSE).await;
        denied.note(&unavailable);
        let told = denied.sentence().unwrap();
        assert!(told.starts_with("missing: a.b.list; listing"), "{told}");
        tokio::time::advance(PAUSE).await;
        assert_eq!(denied.sentence(), None);
    }
}
