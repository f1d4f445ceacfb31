package admission.platform_has_no_parent_test

import data.admission.lib
import data.admission.testing

parent := "01890a5d-0000-774b-bcce-b302099a8057"

test_a_stored_platform_agent_takes_no_parent[note] if {
	some note, value in object.union(testing.not_text, {"an id": parent, "a space": " "})
	review := object.union(testing.stored({"kind": "platform"}), {"request": {"parent_id": value}})
	result := lib.platform_has_no_parent with input as review
	testing.reasons(result) == {"parent_requested"}
	testing.marking(result) == set()
}

test_a_claimed_platform_agent_takes_no_parent if {
	result := lib.platform_has_no_parent with input as testing.requesting({
		"kind": "platform",
		"parent_id": parent,
	})
	testing.reasons(result) == {"parent_requested"}
}

test_a_stored_parent_counts_for_both if {
	stored := lib.platform_has_no_parent with input as testing.stored({"kind": "platform", "parent_id": parent})
	testing.reasons(stored) == {"parent_stored"}
	claimed := lib.platform_has_no_parent with input as testing.review({
		"request": {"kind": "platform"},
		"facts": {"workspace": {"parent_id": parent}},
	})
	testing.reasons(claimed) == {"parent_stored"}
}

test_no_parent_can_be_said_in_three_ways[note] if {
	some note, members in {"absent": {}, "null": {"parent_id": null}, "empty": {"parent_id": ""}}
	review := testing.review({"request": members, "facts": {"workspace": {"kind": "platform", "parent_id": ""}}})
	result := lib.platform_has_no_parent with input as review
	result == set()
}

test_an_ordinary_workspace_has_a_parent if {
	result := lib.platform_has_no_parent with input as testing.review({
		"request": {"parent_id": parent},
		"facts": {"workspace": {"parent_id": parent}},
	})
	result == set()
}
