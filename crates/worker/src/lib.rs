//! Intake and reconcile: from an announced artifact to a finished run.
