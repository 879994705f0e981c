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
  description = "Who may pull from that repository: the account of the cluster's nodes, such as serviceAccount:nodes@acme-ml.iam.gserviceaccount.com, and whoever runs CI jobs in the image for them."
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
  description = "Who may look at runs and ask the leader for something, such as user:ada@example.com or group:ml-platform@example.com. `operators` in worker.yaml says whom it believes."
  type        = set(string)
  default     = []

  validation {
    condition     = alltrue([for it in var.operators : can(regex("^(user|group|serviceAccount):[^@\\s]+@[^@\\s]+$", it))])
    error_message = "Each is user:, group: or serviceAccount: and an address; nobody else, and never everybody."
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
  description = "Id of the project of alert policies and their channels, whose metrics scope has the cluster's and the topics' project; by default `gke_project`, where the roles' metrics are, or else `project`."
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
