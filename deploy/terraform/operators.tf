# Whom the leader believes, of those who may write to the bucket of requests.
locals {
  rosters = [for it in [var.proven_operators] : it if it != null]

  # As GitLab's tokens and requests name it.
  gitlab_host = trimsuffix(regex("^https://([^/]+)", var.gitlab_issuer)[0], ":443")

  # The notifier cancels runs of closed merge requests, and proves itself by an audience that no person's token has.
  notifier_audience = "${var.account_prefix}-operators"
  notifiers         = [for it in local.holders : trimprefix(it.member, "serviceAccount:") if it.part == "notifier"]

  proven_operators = {
    for roster in local.rosters : "operators" => {
      members = merge(
        { for address, user in roster.members : address => { for it in [user] : local.gitlab_host => it if it != null } },
        { for it in local.notifiers : it => {} },
      )
      audiences = sort(setunion(roster.audiences, [local.notifier_audience]))
    }
  }
}
