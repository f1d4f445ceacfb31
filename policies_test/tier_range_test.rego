package admission.tier_range_test

import data.admission.lib
import data.admission.testing

outside := {
	"below": 0, "above": 5, "negative": -1, "between two": 1.5, "just below": 0.999, "just above": 4.001,
	"huge": 100000000000000000000, "text": "1", "empty text": "", "true": true, "false": false,
	"an array": [1], "an object": {"min": 1},
}

test_a_tier_outside_the_range_is_refused[note] if {
	some note, tier in outside
	result := lib.tier_range with input as testing.requesting({"tier": tier})
	testing.reasons(result) == {"tier_unknown"}
	testing.marking(result) == set()
}

test_a_stored_tier_outside_the_range_is_refused[note] if {
	some note, tier in outside
	result := lib.tier_range with input as testing.stored({"tier": tier})
	testing.reasons(result) == {"stored_tier_unknown"}
	testing.marking(result) == set()
}

test_a_good_requested_tier_does_not_excuse_a_bad_stored_one if {
	result := lib.tier_range with input as testing.review({
		"request": {"tier": 1},
		"facts": {"workspace": {"tier": 9}},
	})
	testing.reasons(result) == {"stored_tier_unknown"}
}

test_the_tiers_and_no_tier_are_accepted[note] if {
	some note, tier in {"null": null, "lowest": 1, "middle": 2, "highest": 4, "whole in decimals": 3.0}
	requested := lib.tier_range with input as testing.requesting({"tier": tier})
	requested == set()
	stored := lib.tier_range with input as testing.stored({"tier": tier})
	stored == set()
}

test_the_range_comes_from_the_data if {
	result := lib.tier_range with input as testing.review({
		"request": {"tier": 5},
		"facts": {"workspace": {"tier": 1}},
	})
		with data.tiers as {"min": 2, "max": 5}
	testing.reasons(result) == {"stored_tier_unknown"}
}

test_without_a_range_no_tier_is_accepted if {
	result := lib.tier_range with input as testing.requesting({"tier": 1})
		with data.tiers as {}
	testing.reasons(result) == {"tier_unknown", "stored_tier_unknown"}
}

test_a_limit_that_is_no_number_admits_no_tier[note] if {
	some note, tiers in {"a lowest of null": {"min": null, "max": 4}, "a highest as text": {"min": 1, "max": "4"}}
	result := lib.tier_range with input as testing.requesting({"tier": 1})
		with data.tiers as tiers
	testing.reasons(result) == {"tier_unknown", "stored_tier_unknown"}
}
