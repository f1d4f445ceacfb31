package admission.delivery_mode_values_test

import data.admission.lib
import data.admission.testing

test_a_mode_of_another_type_is_refused[note] if {
	some note, mode in testing.not_text
	result := lib.delivery_mode_values with input as testing.requesting({"delivery_mode": mode})
	testing.reasons(result) == {"delivery_mode_unknown"}
	testing.marking(result) == set()
}

test_a_mode_in_another_spelling_is_refused[mode] if {
	some mode in ["Push", "POLL", "poll ", "pull", "none"]
	result := lib.delivery_mode_values with input as testing.requesting({"delivery_mode": mode})
	testing.reasons(result) == {"delivery_mode_unknown"}
}

test_the_modes_and_no_mode_are_accepted[note] if {
	some note, members in {
		"absent": {},
		"null": {"delivery_mode": null},
		"empty": {"delivery_mode": ""},
		"push": {"delivery_mode": "push"},
		"poll": {"delivery_mode": "poll"},
	}
	result := lib.delivery_mode_values with input as testing.requesting(members)
	result == set()
}
