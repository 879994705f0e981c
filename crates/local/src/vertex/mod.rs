//! Vertex AI: four kinds of jobs over REST, run as local processes.
