package admission.lib

# METADATA
# title: mcp_server_present is true, false or null
# description: >-
#   Only an explicit false says that the MCP server is missing, so "false" or 0
#   must not pass for an answer.
# custom:
#   code: MCP_SERVER_PRESENT_INVALID
#   severity: medium
#   status: 400
#   mark_failed: false
mcp_server_present_type contains violation if {
	value := input.request.mcp_server_present
	not value in {true, false, null}
	violation := {
		"reason": "mcp_server_present_not_boolean",
		"message": "The request's mcp_server_present is neither true, false nor null.",
	}
}
