//! The only doors to Google Cloud: Pub/Sub, Cloud Storage and Vertex AI.
