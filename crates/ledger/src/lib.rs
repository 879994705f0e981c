//! The life of a run: facts, fold, store, queue and lease.
