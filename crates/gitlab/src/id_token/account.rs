//! Whom Google says that a token was issued to: a person, or a service account. Pure.

use jiff::Timestamp;

use super::claims::{Reader, audience, flag, text, time};
use super::object::Object;
use super::{Checks, Forgery, Standing};

/// The claims of a Google ID token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// `email`, which Google has verified. It is known by this name.
    pub email: String,
    /// `sub`: Google's own id of it, which is never given to another.
    pub subject: String,
    audience: Vec<String>,
    issued_at: Timestamp,
    expires_at: Timestamp,
}

impl Account {
    /// Google writes no `nbf`: its tokens are valid from when they are issued.
    pub(super) fn standing(&self) -> Standing<'_> {
        Standing {
            audience: &self.audience,
            issued_at: self.issued_at,
            not_before: self.issued_at,
            expires_at: self.expires_at,
        }
    }

    pub(super) fn read(checks: Checks, claims: &Object) -> Result<Self, Forgery> {
        let it = Reader { checks, claims };
        // An address that is not verified is anybody's.
        it.required("email_verified", |it| flag(it).filter(|verified| *verified))?;
        Ok(Self {
            email: it.required("email", text)?,
            subject: it.required("sub", text)?,
            audience: it.required("aud", audience)?,
            issued_at: it.required("iat", time)?,
            expires_at: it.required("exp", time)?,
        })
    }
}
