package admission.kind_values_test

import data.admission.lib
import data.admission.testing

test_a_kind_of_another_type_is_refused[note] if {
	some note, kind in testing.not_text
	result := lib.kind_values with input as testing.requesting({"kind": kind})
	testing.reasons(result) == {"kind_unknown"}
	testing.marking(result) == set()
}

test_a_kind_in_another_spelling_is_refused[kind] if {
	some kind in ["Platform", "PLATFORM", "platform ", " platform", "plаtform", "workspaces", "null", " "]
	result := lib.kind_values with input as testing.requesting({"kind": kind})
	testing.reasons(result) == {"kind_unknown"}
}

test_the_kinds_and_no_kind_are_accepted[note] if {
	some note, members in {
		"absent": {},
		"null": {"kind": null},
		"empty": {"kind": ""},
		"workspace": {"kind": "workspace"},
		"platform": {"kind": "platform"},
	}
	result := lib.kind_values with input as testing.requesting(members)
	result == set()
}

test_a_stored_row_of_unknown_kind_is_refused[note] if {
	some note, kind in object.union(testing.not_text, {"null": null, "empty": "", "capital": "Platform"})
	result := lib.kind_values with input as testing.stored({"kind": kind})
	testing.reasons(result) == {"stored_kind_unknown"}
}

test_a_facts_query_that_forgets_the_kind_is_noticed if {
	review := json.remove(testing.base, ["facts/workspace/kind"])
	result := lib.kind_values with input as review
	testing.reasons(result) == {"stored_kind_unknown"}
}

test_without_a_row_there_is_no_stored_kind_to_know if {
	result := lib.kind_values with input as testing.without_row({})
	result == set()
}
