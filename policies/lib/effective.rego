package admission.lib

# The registry binds these members to plain strings, for which absent, null and
# "" are the same, so they are the same here.
given(member) if {
	value := input.request[member]
	not value in {null, ""}
}

# What will hold once the request is admitted: the request replaces what is
# stored, and what it leaves out stays.
effective(member) := input.request[member] if given(member)

effective(member) := input.facts.workspace[member] if not given(member)
