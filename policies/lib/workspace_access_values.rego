package admission.lib

# METADATA
# scope: document
# title: Access to a workspace directory needs a directory
# description: >-
#   The access is none, read_only or read_write, and with the latter two the
#   request or the stored workspace names the directory.
# custom:
#   code: WORKSPACE_ACCESS_INVALID
#   severity: medium
#   status: 400
#   mark_failed: false
workspace_access_values contains violation if {
	not workspace_access in {"none", "read_only", "read_write"}
	violation := {
		"reason": "workspace_access_unknown",
		"message": "The workspace access is not none, read_only or read_write.",
	}
}

workspace_access_values contains violation if {
	workspace_access in {"read_only", "read_write"}
	not workspace_dir_named
	violation := {
		"reason": "workspace_dir_missing",
		"message": "The workspace access needs a workspace directory, and there is none.",
	}
}
