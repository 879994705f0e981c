variable "project" {
  description = "Id of the project that gets topics, buckets, the pool and the accounts of CI and of the roles."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{4,28}[a-z0-9]$", var.project))
    error_message = "A project's id has 6 to 30 small letters, digits and hyphens; it is not its name and not its number."
  }
}

variable "location" {
  description = "Where the buckets and the BigQuery dataset lie, such as europe-west4. Near the training is cheapest."
  type        = string

  validation {
    condition     = can(regex("^[A-Za-z0-9-]+$", var.location))
    error_message = "A location is a region such as europe-west4, or EU, US or the like."
  }
}

variable "regions" {
  description = "Regions of Vertex AI that jobs may train in (`regions` in worker.yaml); by default `location`."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for it in length(var.regions) > 0 ? var.regions : [lower(var.location)] : can(regex("^[a-z]+-[a-z]+[0-9]+$", it))])
    error_message = "Each is a region such as europe-west4. Where the location is none, name them."
  }
}

variable "bucket_prefix" {
  description = "What the names of all buckets begin with: acme makes acme-artifacts, acme-ledger and so on."
  type        = string

  validation {
    condition     = can(regex("^[a-z0-9][a-z0-9-]{1,48}$", var.bucket_prefix)) && !startswith(var.bucket_prefix, "goog")
    error_message = "A prefix has 2 to 49 small letters, digits and hyphens, and does not begin with goog."
  }
}

variable "name_prefix" {
  description = "What the names of topics, subscriptions and secrets begin with, such as next-: for a second installation in the project, which gets bucket_prefix, account_prefix, pool and kubernetes_namespace of its own too."
  type        = string
  default     = ""

  validation {
    condition     = can(regex("^([a-z]([a-z0-9-]{0,18}[a-z0-9])?-)?$", var.name_prefix)) && !startswith(var.name_prefix, "goog")
    error_message = "A prefix has up to 20 small letters, digits and hyphens and a hyphen at its end, and does not begin with goog."
  }
}

variable "account_prefix" {
  description = "What the ids of the service accounts and of the custom role begin with: branchline makes branchline-ci, branchline-worker and so on."
  type        = string
  default     = "branchline"

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{2,20}$", var.account_prefix))
    error_message = "A prefix has 3 to 21 small letters, digits and hyphens: Google takes 6 to 30 for the whole id."
  }
}

variable "additional_members" {
  description = "Further service accounts with all rights of a part, by part (ci, worker, notifier, trainer), such as serviceAccount:worker-next@acme-ml.iam.gserviceaccount.com. They exist already; for changing an account without a pause."
  type        = map(set(string))
  default     = {}

  validation {
    condition     = length(setsubtract(keys(var.additional_members), ["ci", "worker", "notifier", "trainer"])) == 0
    error_message = "The parts are ci, worker, notifier and trainer."
  }

  validation {
    condition     = alltrue([for it in flatten([for it in var.additional_members : tolist(it)]) : can(regex("^serviceAccount:[a-z0-9-]+@[a-z0-9-]+\\.iam\\.gserviceaccount\\.com$", it))])
    error_message = "Each is serviceAccount:NAME@PROJECT.iam.gserviceaccount.com."
  }

  validation {
    condition     = length(flatten([for it in var.additional_members : tolist(it)])) == length(distinct(flatten([for it in var.additional_members : tolist(it)])))
    error_message = "Each part has accounts of its own."
  }
}

variable "training_project" {
  description = "Id of the project that jobs train in; by default the same project."
  type        = string
  default     = null

  validation {
    condition     = var.training_project == null || can(regex("^[a-z][a-z0-9-]{4,28}[a-z0-9]$", var.training_project))
    error_message = "A project's id has 6 to 30 small letters, digits and hyphens."
  }
}

variable "training_accounts" {
  description = "E-mail addresses of further service accounts of the training project that jobs may run as, such as the Compute Engine default one for pipelines that name none."
  type        = set(string)
  default     = []

  validation {
    condition     = alltrue([for it in var.training_accounts : can(regex("^[a-z0-9.-]+@[a-z0-9.-]+\\.gserviceaccount\\.com$", it))])
    error_message = "Each is the address of a service account, NAME@….gserviceaccount.com."
  }
}

variable "trainer_runs_pipelines" {
  description = "Whether `trainer` may use Vertex AI, as the account of a pipeline has to: it creates the jobs of its steps and writes their metadata. It may then also delete models and read every dataset of the training project."
  type        = bool
  default     = false
}

variable "staging" {
  description = "Whether there is a bucket for copies of verified inputs (`staging` in worker.yaml)."
  type        = bool
  default     = false
}

variable "staging_days" {
  description = "Days until a copy is deleted: more than twice `wait_max` and the longest training."
  type        = number
  default     = 30

  validation {
    condition     = var.staging_days >= 7 && floor(var.staging_days) == var.staging_days
    error_message = "At least 7 whole days: twice the default wait_max of 72h is six."
  }
}

variable "ledger_retention_days" {
  description = "Days for which no fact can be deleted or replaced. Until it is locked, whoever administers the bucket may shorten it."
  type        = number
  default     = 365

  validation {
    condition     = var.ledger_retention_days >= 1 && var.ledger_retention_days <= 36500 && floor(var.ledger_retention_days) == var.ledger_retention_days
    error_message = "1 to 36500 whole days."
  }
}

variable "ledger_locked" {
  description = "Whether that retention is locked for good: nobody shortens or removes it again."
  type        = bool
  default     = false
}

variable "index_days" {
  description = "Days for which `runs list` finds a run by its day; `--all` walks through the ledger behind that."
  type        = number
  default     = 400

  validation {
    condition     = var.index_days >= 32 && floor(var.index_days) == var.index_days
    error_message = "At least 32 whole days."
  }
}

variable "dead_letter_days" {
  description = "Days until a dead letter is deleted from the archive."
  type        = number
  default     = 90

  validation {
    condition     = var.dead_letter_days >= 32 && floor(var.dead_letter_days) == var.dead_letter_days
    error_message = "At least 32 whole days: a message may be delivered for 31."
  }
}

variable "gitlab_issuer" {
  description = "Issuer of the tokens of CI jobs: `iss`, the address of GitLab."
  type        = string
  default     = "https://gitlab.com"

  validation {
    condition     = can(regex("^https://[A-Za-z0-9.-]+(:[0-9]+)?(/[^?#\\s]*[^/?#\\s])?$", var.gitlab_issuer))
    error_message = "An https address without a slash at its end, as GitLab writes it into tokens."
  }
}

variable "gitlab_jwks" {
  description = "Public keys of a GitLab that Google cannot reach: the text of ISSUER/oauth/discovery/keys. To be applied again when GitLab's keys change."
  type        = string
  default     = null

  validation {
    condition     = var.gitlab_jwks == null || try(length(jsondecode(var.gitlab_jwks).keys) > 0 && alltrue([for it in jsondecode(var.gitlab_jwks).keys : it.kid != "" && !contains(keys(it), "d")]), false)
    error_message = "A JSON Web Key Set, {\"keys\": […]}, of public keys only, each with its kid."
  }

  validation {
    condition     = !try(contains(jsondecode(var.gitlab_jwks).keys[*].kid, "replace-me"), false)
    error_message = "These are the keys of an example. Put the text of ISSUER/oauth/discovery/keys there."
  }
}

variable "gitlab_namespace_ids" {
  description = "Ids of the groups whose projects may get an account; a subgroup is a group of its own. Better than paths, which can be taken over."
  type        = set(string)
  default     = []

  validation {
    condition     = alltrue([for it in var.gitlab_namespace_ids : can(regex("^[0-9]+$", it))])
    error_message = "An id has digits only."
  }
}

variable "gitlab_namespace_paths" {
  description = "The same by full path, such as ml or ml/vision. One of the two is given, and not both."
  type        = set(string)
  default     = []

  validation {
    condition     = alltrue([for it in var.gitlab_namespace_paths : can(regex("^[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_][A-Za-z0-9_.-]*)*$", it))])
    error_message = "The full path of a group, such as ml/vision; no patterns, and no slash at either end."
  }

  validation {
    condition     = (length(var.gitlab_namespace_ids) == 0) != (length(var.gitlab_namespace_paths) == 0)
    error_message = "Exactly one of gitlab_namespace_ids and gitlab_namespace_paths says whose jobs are let in."
  }
}

variable "gitlab_project_ids" {
  description = "Ids of the GitLab projects whose jobs become the account of CI. Without any, nobody does."
  type        = set(string)
  default     = []

  validation {
    condition     = alltrue([for it in var.gitlab_project_ids : can(regex("^[0-9]+$", it))])
    error_message = "An id has digits only; GitLab shows it under Settings, General."
  }
}

variable "gitlab_protected_refs_only" {
  description = "Whether only jobs of protected branches and tags get an account: for those who train from nothing else. By default every job of these projects does, also a merge request's, and whoever pushes there can read and add artifacts; the worker's policy says who trains, and shows why not on the commit."
  type        = bool
  default     = false
}

variable "component" {
  description = "What a team includes, GROUP/PROJECT/train@VERSION on this GitLab, such as ml-platform/branchline/train@1: for `init_command`, which has a word to replace without it."
  type        = string
  default     = null

  validation {
    condition     = var.component == null || can(regex("^[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_][A-Za-z0-9_.-]*)+/train@[A-Za-z0-9~][A-Za-z0-9._+-]*$", var.component))
    error_message = "It is GROUP/PROJECT/train@VERSION, without GitLab's host."
  }
}

variable "pool" {
  description = "Id of the workload identity pool. A deleted one's id is taken for 30 days."
  type        = string
  default     = "gitlab"

  validation {
    condition     = can(regex("^[a-z0-9-]{4,32}$", var.pool)) && !startswith(var.pool, "gcp-")
    error_message = "4 to 32 small letters, digits and hyphens, not beginning with gcp-."
  }
}

variable "audience" {
  description = "Branchline's own audience, that of BRANCHLINE_ID_TOKEN. Google's is the name of the provider, and never the same: whoever reads a message could become the CI job."
  type        = string
  default     = "branchline"

  validation {
    condition     = can(regex("^[A-Za-z0-9:/._-]{1,256}$", var.audience)) && !strcontains(var.audience, "iam.googleapis.com")
    error_message = "Up to 256 letters, digits and :/._-, and another one than the provider's."
  }
}
