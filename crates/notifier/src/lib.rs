//! Reports runs to GitLab: commit status and merge request note.
