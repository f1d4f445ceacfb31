package admission.lib

# METADATA
# title: A workspace has budget left
# description: >-
#   A workspace whose spend of this month has reached its limit does not come
#   online. Without a limit there is nothing to reach.
# custom:
#   code: BUDGET_EXCEEDED
#   severity: medium
#   status: 402
#   mark_failed: false
#   answer: workspace budget exceeded
budget_within_limit contains violation if {
	input.facts.workspace.budget_limit != null
	not budget_left
	violation := {
		"reason": "budget_exceeded",
		"message": "The workspace has spent its budget of this month.",
	}
}

# Values of different types compare too, so a limit that a facts query gives
# as text would never be reached.
budget_left if {
	is_number(input.facts.workspace.budget_limit)
	is_number(spend)
	spend < input.facts.workspace.budget_limit
}

default spend := 0

spend := input.facts.workspace.monthly_spend if input.facts.workspace.monthly_spend != null
