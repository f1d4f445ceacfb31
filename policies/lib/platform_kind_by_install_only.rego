package admission.lib

# METADATA
# title: Only the install path makes a platform workspace
# description: >-
#   Neither a workspace's own token nor a bootstrapping caller may create a
#   platform workspace or turn another into one. A stored platform workspace
#   may go on saying what it is.
# custom:
#   code: PLATFORM_KIND_RESTRICTED
#   severity: high
#   status: 403
#   mark_failed: false
#   answer: only the platform's install path may create a platform workspace
platform_kind_by_install_only contains violation if {
	input.request.kind == "platform"
	not stored_platform
	not input.caller_proof == "install"
	violation := {
		"reason": "not_install",
		"message": "A caller other than the platform's install path asked for kind platform.",
	}
}
