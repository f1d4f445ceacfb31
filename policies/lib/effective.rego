package admission.lib

# What will hold once the request is admitted: the request replaces what is
# stored, and what it leaves out stays. The registry binds these members to
# plain strings, for which absent, null and "" are the same, so they are the
# same here: without a value on either side the rule is undefined.

workspace_dir := directory if {
	directory := input.request.workspace_dir
	not directory in {null, ""}
}

workspace_dir := directory if {
	directory := input.facts.workspace.workspace_dir
	not directory in {null, ""}
	not workspace_dir_requested
}

workspace_dir_requested if {
	directory := input.request.workspace_dir
	not directory in {null, ""}
}

workspace_access := access if {
	access := input.request.workspace_access
	not access in {null, ""}
}

workspace_access := access if {
	access := input.facts.workspace.workspace_access
	not access in {null, ""}
	not workspace_access_requested
}

workspace_access_requested if {
	access := input.request.workspace_access
	not access in {null, ""}
}

polls if input.request.delivery_mode == "poll"

polls if {
	input.facts.workspace.delivery_mode == "poll"
	not delivery_mode_requested
}

delivery_mode_requested if {
	mode := input.request.delivery_mode
	not mode in {null, ""}
}
