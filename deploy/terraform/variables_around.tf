# What is around an installation: the cluster, the people, and who is told.

variable "gke_project" {
  description = "Id of the GKE cluster's project, whose pods become the roles' accounts and read their GitLab tokens. It needs a cluster with Workload Identity first; without it no pod does."
  type        = string
  default     = null

  validation {
    condition     = var.gke_project == null || can(regex("^[a-z][a-z0-9-]{4,28}[a-z0-9]$", var.gke_project))
    error_message = "A project's id has 6 to 30 small letters, digits and hyphens."
  }
}

variable "kubernetes_namespace" {
  description = "Kubernetes namespace of the roles."
  type        = string
  default     = "branchline"

  validation {
    condition     = can(regex("^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$", var.kubernetes_namespace))
    error_message = "A name as Kubernetes takes it: up to 63 small letters, digits and hyphens."
  }
}

variable "kubernetes_service_accounts" {
  description = "Kubernetes service accounts of the roles' pods."
  type = object({
    worker   = optional(string, "worker")
    notifier = optional(string, "notifier")
  })
  default = {}

  validation {
    condition     = alltrue([for it in values(var.kubernetes_service_accounts) : can(regex("^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$", it))])
    error_message = "Names as Kubernetes takes them: up to 63 small letters, digits and hyphens."
  }

  validation {
    condition     = var.kubernetes_service_accounts.worker != var.kubernetes_service_accounts.notifier
    error_message = "Each role has an account of its own."
  }
}

variable "metrics_adapter" {
  description = "Member that custom-metrics-stackdriver-adapter is, which reads the backlog for the autoscaler in `project`, wherever the cluster is, such as serviceAccount:metrics@acme-ml.iam.gserviceaccount.com."
  type        = string
  default     = null

  validation {
    condition     = var.metrics_adapter == null || can(regex("^(serviceAccount:[^@\\s]+@[^@\\s]+|principal://iam\\.googleapis\\.com/[^\\s*]+)$", var.metrics_adapter))
    error_message = "It is serviceAccount: and an address, or principal://iam.googleapis.com/…."
  }
}

variable "image_repository" {
  description = "Artifact Registry's repository to make for Branchline's images, {location = \"europe-west4\", name = \"branchline\"}. Without it there is none."
  type        = object({ location = string, name = string })
  default     = null

  validation {
    condition = var.image_repository == null || try(
      can(regex("^[a-z]+(-[a-z]+[0-9]+)?$", var.image_repository.location))
      && can(regex("^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$", var.image_repository.name)), false
    )
    error_message = "A location is a region such as europe-west4, or europe, us or asia; a name has up to 63 small letters, digits and hyphens."
  }
}

variable "image_readers" {
  description = "Who may pull from that repository: the account of the cluster's nodes, such as serviceAccount:nodes@acme-ml.iam.gserviceaccount.com. CI jobs pull theirs from GitLab."
  type        = set(string)
  default     = []

  validation {
    condition     = alltrue([for it in var.image_readers : can(regex("^(user|group|serviceAccount):[^@\\s]+@[^@\\s]+$", it))])
    error_message = "Each is user:, group: or serviceAccount: and an address; nobody else, and never everybody."
  }

  validation {
    condition     = length(var.image_readers) == 0 || var.image_repository != null
    error_message = "There is nothing to read without image_repository."
  }
}

variable "operators" {
  description = "Who may look at runs and ask the leader for something, such as user:ada@example.com or group:ml-platform@example.com. It is their right at Google; whom the leader believes, `proven_operators` says."
  type        = set(string)
  default     = []

  validation {
    condition     = alltrue([for it in var.operators : can(regex("^(user|group|serviceAccount):[^@\\s]+@[^@\\s]+$", it))])
    error_message = "Each is user:, group: or serviceAccount: and an address; nobody else, and never everybody."
  }
}

variable "proven_operators" {
  description = "Whom the workers believe when they ask the leader for something (`operators` in worker.yaml): `members`, e-mail addresses of people and service accounts, each with its user's id in GitLab, or null for who approves nothing; and `audiences` of their Google ID tokens. The notifier is added. Without it whoever may write to the bucket of requests is believed."
  type        = object({ members = map(number), audiences = set(string) })
  default     = null

  validation {
    condition = var.proven_operators == null || try(
      length(var.proven_operators.members) > 0
      && alltrue([for it in keys(var.proven_operators.members) : can(regex("^[^@:\\s]+@[^@\\s]+$", it))]), false
    )
    error_message = "At least one member, and each is an address alone, such as ada@example.com: no group, and no word before it."
  }

  validation {
    condition     = var.proven_operators == null || try(alltrue([for it in values(var.proven_operators.members) : it == null ? true : it >= 1 && floor(it) == it]), false)
    error_message = "A user's id is a whole number, which https://GITLAB/api/v4/users?username=NAME tells; or null."
  }

  validation {
    condition = var.proven_operators == null || try(
      length(var.proven_operators.audiences) > 0
      && alltrue([for it in var.proven_operators.audiences : can(regex("^[A-Za-z0-9:/._-]{1,256}$", it)) && !strcontains(it, "iam.googleapis.com")]), false
    )
    error_message = "At least one audience, of letters, digits and :/._-, and never an identity provider's."
  }
}

variable "doctor_members" {
  description = "Who may look at an installation as its roles, by `branchline doctor --account`, such as user:ada@example.com. They can do all that the worker and the notifier can."
  type        = set(string)
  default     = []

  validation {
    condition     = alltrue([for it in var.doctor_members : can(regex("^(user|group|serviceAccount):[^@\\s]+@[^@\\s]+$", it))])
    error_message = "Each is user:, group: or serviceAccount: and an address; nobody else, and never everybody."
  }
}

variable "bigquery_dataset" {
  description = "Name of a BigQuery dataset to make, with a table that Pub/Sub writes all run events to. Without it there is none."
  type        = string
  default     = null

  validation {
    condition     = var.bigquery_dataset == null || can(regex("^[A-Za-z0-9_]{1,255}$", var.bigquery_dataset))
    error_message = "Letters, digits and underscores."
  }
}

variable "bigquery_deletion_protection" {
  description = "Whether Terraform refuses to delete that table. To take it out, first apply with false, then without the dataset."
  type        = bool
  default     = true
}

variable "alerts" {
  description = "Whether there are alert policies. Most need the roles' metrics in Managed Service for Prometheus, and fire until the roles run."
  type        = bool
  default     = true
}

variable "monitoring_project" {
  description = "Id of the project of alert policies and their channels, to whose metrics scope those of the topics and of the cluster are added; by default `gke_project`, where the roles' metrics are, or else `project`."
  type        = string
  default     = null

  validation {
    condition     = var.monitoring_project == null || can(regex("^[a-z][a-z0-9-]{4,28}[a-z0-9]$", var.monitoring_project))
    error_message = "A project's id has 6 to 30 small letters, digits and hyphens."
  }
}

variable "notification_channels" {
  description = "Names of the channels that alerts go to, projects/P/notificationChannels/N. Without any, incidents are seen in the console only."
  type        = set(string)
  default     = []

  validation {
    condition     = alltrue([for it in var.notification_channels : can(regex("^projects/[^/]+/notificationChannels/[^/]+$", it))])
    error_message = "Each is projects/P/notificationChannels/N."
  }
}

variable "documents_address" {
  description = "Where this repository's files are read, such as https://gitlab.example.com/platform/branchline/-/blob/1.0.0: alerts link to the runbook there. Without it they name docs/runbook.md."
  type        = string
  default     = null

  validation {
    condition     = var.documents_address == null || can(regex("^https://[^\\s?#]*[^\\s?#/]$", var.documents_address))
    error_message = "An https address without a slash at its end."
  }
}
