package admission.lib

# METADATA
# scope: document
# title: A platform workspace has no parent
# description: The platform agent is the root of the tree of workspaces.
# custom:
#   code: PLATFORM_HAS_PARENT
#   severity: medium
#   status: 400
#   mark_failed: false
#   answer: a platform workspace has no parent
platform_has_no_parent contains violation if {
	parent := input.request.parent_id
	not parent in {null, ""}
	platform
	violation := {
		"reason": "parent_requested",
		"message": "The request names a parent for a platform workspace.",
	}
}

platform_has_no_parent contains violation if {
	parent := input.facts.workspace.parent_id
	not parent in {null, ""}
	platform
	violation := {
		"reason": "parent_stored",
		"message": "The platform workspace is stored with a parent.",
	}
}
