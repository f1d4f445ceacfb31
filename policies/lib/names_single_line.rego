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
names_single_line contains violation if some violation in name_problems

# Without the member these are undefined, and there is nothing to refuse.
name_problems contains not_single_line("name") if not single_line(input.request.name)

name_problems contains not_single_line("role") if not single_line(input.request.role)

name_problems contains not_single_line("model") if not single_line(input.request.model)

name_problems contains not_single_line("runtime") if not single_line(input.request.runtime)

not_single_line(member) := {
	"reason": sprintf("%s_not_single_line", [member]),
	"message": sprintf("The request's %s is not one line of text.", [member]),
}

single_line(null)

# YAML ends a line at these three Unicode characters as well.
single_line(value) if {
	is_string(value)
	not regex.match(`[\n\r\x{85}\x{2028}\x{2029}]`, value)
}
