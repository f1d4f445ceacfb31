package admission.lib

# METADATA
# scope: document
# title: Names are one line of text
# description: >-
#   These members are written into configuration files line by line; a line
#   break in one of them would add settings of the caller's choice.
# custom:
#   code: NAME_INVALID
#   severity: medium
#   status: 400
#   mark_failed: false
names_single_line contains not_single_line("name") if not single_line(input.request.name)

names_single_line contains not_single_line("role") if not single_line(input.request.role)

names_single_line contains not_single_line("model") if not single_line(input.request.model)

names_single_line contains not_single_line("runtime") if not single_line(input.request.runtime)

not_single_line(member) := {
	"reason": sprintf("%s_not_single_line", [member]),
	"message": sprintf("The request's %s is not one line of text.", [member]),
}

# Of a member that is not there it is undefined, and there is nothing to refuse.
single_line(null)

# YAML ends a line at these three Unicode characters as well.
single_line(value) if {
	is_string(value)
	not regex.match(`[\n\r\x{85}\x{2028}\x{2029}]`, value)
}
