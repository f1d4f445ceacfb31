package admission.lib

# METADATA
# scope: document
# title: A platform agent has its required secrets and tools
# description: >-
#   A platform agent without its own MODEL secret, or without its MCP server,
#   comes online as a generic assistant. Presence of the exact key among the
#   workspace's own secrets counts; a global secret does not.
# custom:
#   code: PLATFORM_AGENT_IDENTITY_GATE
#   severity: critical
#   status: 400
#   mark_failed: true
#   answer: platform agent identity incomplete
platform_requires_model contains violation if {
	platform
	platform_secrets_defined
	some key in data.required_secrets.platform
	not has_secret(key)
	violation := {
		"reason": sprintf("%s_missing", [lower(key)]),
		"message": sprintf("The platform agent has no %s secret of its own.", [key]),
		"mark_failed": missing_secret_marks,
	}
}

platform_requires_model contains violation if {
	input.request.mcp_server_present == false
	platform
	violation := {
		"reason": "mcp_server_missing",
		"message": "The platform agent reports that it has no MCP server.",
		"mark_failed": caller_proved,
	}
}

# Without the list nobody can tell whether the agent is complete. That is the
# policies' failing, not the workspace's, so it denies and marks nothing.
platform_requires_model contains violation if {
	platform
	not platform_secrets_defined
	violation := {
		"reason": "required_secrets_undefined",
		"message": "The policies do not say which secrets a platform agent needs (required_secrets.platform).",
		"mark_failed": false,
	}
}

platform_secrets_defined if {
	names_secrets(data.required_secrets.platform)
	count(data.required_secrets.platform) > 0
}

# A stored platform row is in this state whoever asks; a mere claim counts
# only if the caller proved itself.
default missing_secret_marks := false

missing_secret_marks if stored_platform

missing_secret_marks if caller_proved
