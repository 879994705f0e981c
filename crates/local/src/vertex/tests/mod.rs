//! Stories over the HTTP router.
