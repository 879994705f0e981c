output "branchline" {
  description = "All that is to be pasted elsewhere; see the module's README."
  value       = module.branchline
}
