package admission.names_single_line_test

import data.admission.lib
import data.admission.testing

members := ["name", "role", "model", "runtime"]

test_a_line_break_is_refused_in_each_member[note] if {
	some member in members
	some spelling, value in {
		"line feed": "reader\nprivileged: true",
		"carriage return": "reader\rx",
		"both": "reader\r\nx",
		"leading": "\nreader",
		"trailing": "reader\n",
		"next line": "reader\u0085x",
		"line separator": "reader\u2028x",
		"paragraph separator": "reader\u2029x",
	}
	note := sprintf("%s: %s", [member, spelling])
	result := lib.names_single_line with input as testing.requesting({member: value})
	testing.reasons(result) == {sprintf("%s_not_single_line", [member])}
	testing.marking(result) == set()
}

test_another_type_is_refused_in_each_member[note] if {
	some member in members
	some type, value in testing.not_text
	note := sprintf("%s: %s", [member, type])
	result := lib.names_single_line with input as testing.requesting({member: value})
	testing.reasons(result) == {sprintf("%s_not_single_line", [member])}
}

test_every_bad_member_is_reported if {
	review := testing.requesting({member: "a\nb" | some member in members})
	result := lib.names_single_line with input as review
	count(result) == 4
}

test_one_line_of_text_is_accepted[note] if {
	some note, value in {"plain": "Reader 7", "null": null, "empty": "", "other script": "読者", "escaped": `a\nb`, "tab": "a\tb"}
	result := lib.names_single_line with input as testing.requesting({member: value | some member in members})
	result == set()
}

test_other_members_may_have_line_breaks if {
	result := lib.names_single_line with input as testing.requesting({"agent_card": {"name": "a\nb"}, "note": "a\nb"})
	result == set()
}
