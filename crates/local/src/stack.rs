//! Starts the four services on loopback and stops them together.
