package admission.lib

# METADATA
# title: Names are one line of text
# description: >-
#   These members are written into configuration files line by line; a line
#   break in one of them would add settings of the caller's choice.
# custom:
#   code: NAME_INVALID
#   severity: medium
#   status: 400
#   mark_failed: false
names_single_line contains violation if {
	some member in ["name", "role", "model", "runtime"]
	given(member)
	not single_line(input.request[member])
	violation := {
		"reason": sprintf("%s_not_single_line", [member]),
		"message": sprintf("The request's %s is not one line of text.", [member]),
	}
}

# YAML ends a line at these three Unicode characters as well.
single_line(value) if {
	is_string(value)
	not regex.match(`[\n\r\x{85}\x{2028}\x{2029}]`, value)
}
