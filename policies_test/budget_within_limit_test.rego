package admission.budget_within_limit_test

import data.admission.lib
import data.admission.testing

budget(limit, spend) := testing.stored({"budget_limit": limit, "monthly_spend": spend})

test_a_spend_at_or_over_the_limit_is_refused[note] if {
	some note, amounts in {
		"at": [100, 100],
		"over": [100, 101],
		"nothing to spend": [0, null],
		"nothing to spend, nothing spent": [0, 0],
		"negative limit": [-1, 0],
	}
	result := lib.budget_within_limit with input as budget(amounts[0], amounts[1])
	testing.reasons(result) == {"budget_exceeded"}
	testing.marking(result) == set()
}

test_a_spend_below_the_limit_is_accepted[note] if {
	some note, amounts in {"below": [100, 99], "nothing spent": [100, 0], "spend unknown": [100, null]}
	result := lib.budget_within_limit with input as budget(amounts[0], amounts[1])
	result == set()
}

test_without_a_limit_any_spend_is_accepted if {
	unlimited := lib.budget_within_limit with input as budget(null, 1000000)
	unlimited == set()
	new := lib.budget_within_limit with input as testing.without_row({})
	new == set()
}

test_a_spend_that_was_not_selected_is_none if {
	review := json.remove(budget(100, 0), ["facts/workspace/monthly_spend"])
	result := lib.budget_within_limit with input as review
	result == set()
}

test_amounts_that_are_not_numbers_are_refused[note] if {
	some note, amounts in {
		"limit as text": ["100", 5],
		"spend as text": [100, "5"],
		"limit as false": [false, 0],
		"spend as false": [100, false],
		"limit as array": [[100], 5],
	}
	result := lib.budget_within_limit with input as budget(amounts[0], amounts[1])
	testing.reasons(result) == {"budget_exceeded"}
}

test_the_request_has_no_say_in_the_budget if {
	result := lib.budget_within_limit with input as object.union(
		budget(100, 100),
		{"request": {"budget_limit": 1000, "monthly_spend": 0}},
	)
	testing.reasons(result) == {"budget_exceeded"}
}
