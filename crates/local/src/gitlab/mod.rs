//! GitLab: the projects, pipelines, statuses and merge requests that the roles see.
