package admission.lib

# METADATA
# scope: document
# title: The kind is workspace or platform
# description: >-
#   A kind in another spelling or of another type could be stored as a platform
#   workspace without being judged as one.
# custom:
#   code: KIND_INVALID
#   severity: medium
#   status: 400
#   mark_failed: false
kind_values contains violation if {
	kind := input.request.kind
	not kind in {null, "", "workspace", "platform"}
	violation := {
		"reason": "kind_unknown",
		"message": "The request's kind is neither workspace nor platform.",
	}
}

# A facts query that forgets the kind, or a registry whose table has none, must
# not make every workspace look like an ordinary one.
kind_values contains violation if {
	input.facts.exists
	not stored_kind_known
	violation := {
		"reason": "stored_kind_unknown",
		"message": "The kind of the stored workspace is not known.",
	}
}

stored_kind_known if input.facts.workspace.kind in {"workspace", "platform"}
