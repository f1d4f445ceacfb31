package admission.heartbeat

# METADATA
# title: A heartbeat comes from a workspace that exists
# description: A heartbeat promotes a stored workspace; without one there is nothing to promote.
# custom:
#   code: WORKSPACE_UNKNOWN
#   severity: medium
#   status: 404
#   mark_failed: false
#   answer: workspace not found
deny contains violation if {
	not input.facts.exists
	violation := {
		"reason": "workspace_unknown",
		"message": "The heartbeat is for a workspace that the registry does not have.",
	}
}
