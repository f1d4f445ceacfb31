package admission.lib

# METADATA
# title: A removed workspace stays removed
# description: >-
#   An agent that outlives its workspace keeps registering and sending
#   heartbeats; neither brings the workspace back.
# custom:
#   code: WORKSPACE_REMOVED
#   severity: high
#   status: 410
#   mark_failed: false
#   answer: workspace has been removed
removed_stays_removed contains violation if {
	input.facts.workspace.status == "removed"
	violation := {
		"reason": "workspace_removed",
		"message": "The workspace has been removed and cannot come back.",
	}
}
