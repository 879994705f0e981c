//! What every role does: configuration, consuming, publishing, telemetry, health and shutdown.
