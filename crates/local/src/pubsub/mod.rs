//! Pub/Sub: gRPC for messages, REST and gRPC for administration.
