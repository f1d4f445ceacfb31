package admission.lib

# METADATA
# title: The delivery mode is push or poll
# description: The mode decides whether a URL is required.
# custom:
#   code: DELIVERY_MODE_INVALID
#   severity: medium
#   status: 400
#   mark_failed: false
delivery_mode_values contains violation if {
	mode := input.request.delivery_mode
	not mode in {null, "", "push", "poll"}
	violation := {
		"reason": "delivery_mode_unknown",
		"message": "The request's delivery mode is neither push nor poll.",
	}
}
