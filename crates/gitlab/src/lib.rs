//! The only door to GitLab's API.
