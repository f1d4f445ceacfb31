package admission.lib

# METADATA
# title: A workspace directory is outside the system
# description: >-
#   The directory is mounted into the agent's container. It is an absolute path
#   without .. that is not at or below a folder of the system, in any spelling.
# custom:
#   code: WORKSPACE_DIR_INVALID
#   severity: high
#   status: 400
#   mark_failed: false
workspace_dir_safe contains violation if {
	workspace_dir_named
	some violation in directory_problems
}

# Not "if workspace_dir", which does not hold when the directory is false.
workspace_dir_named if workspace_dir != null

directory_problems contains violation if {
	not directory_text
	violation := {
		"reason": "workspace_dir_malformed",
		"message": "The workspace directory is not text, or has control characters or backslashes in it.",
	}
}

directory_problems contains violation if {
	not startswith(directory_text, "/")
	violation := {
		"reason": "workspace_dir_relative",
		"message": "The workspace directory is not an absolute path.",
	}
}

directory_problems contains violation if {
	".." in directory_segments
	violation := {
		"reason": "workspace_dir_parent",
		"message": "The workspace directory has a segment .. in it.",
	}
}

directory_problems contains violation if {
	directory_text
	not directory_outside_system
	violation := {
		"reason": "workspace_dir_system",
		"message": "The workspace directory is the root or belongs to the system.",
	}
}

directory_text := workspace_dir if {
	is_string(workspace_dir)
	not regex.match(`[\p{Cc}\\]`, workspace_dir)
}

# Without empty and . segments, so that //etc/ and /./etc are /etc.
directory_segments := [segment |
	some segment in split(directory_text, "/")
	not segment in {"", "."}
]

# The root has no segments. It is refused here, not by the data, where "/"
# would refuse everything below it too.
directory_outside_system if {
	count(directory_segments) > 0
	path := sprintf("/%s/", [concat("/", directory_segments)])
	strings.any_prefix_match(path, data.workspace_dir.system_folders) == false
}
