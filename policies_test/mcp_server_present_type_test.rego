package admission.mcp_server_present_type_test

import data.admission.lib
import data.admission.testing

test_anything_but_a_boolean_or_null_is_refused[note] if {
	some note, value in {
		"text": "false", "empty text": "", "zero": 0, "one": 1,
		"an array": [false], "an empty array": [], "an object": {},
	}
	result := lib.mcp_server_present_type with input as testing.requesting({"mcp_server_present": value})
	testing.reasons(result) == {"mcp_server_present_not_boolean"}
	testing.marking(result) == set()
}

test_a_boolean_null_and_nothing_are_accepted[note] if {
	some note, members in {
		"absent": {},
		"null": {"mcp_server_present": null},
		"true": {"mcp_server_present": true},
		"false": {"mcp_server_present": false},
	}
	result := lib.mcp_server_present_type with input as testing.requesting(members)
	result == set()
}
