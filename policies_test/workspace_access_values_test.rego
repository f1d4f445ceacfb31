package admission.workspace_access_values_test

import data.admission.lib
import data.admission.testing

test_an_access_of_another_type_is_refused[note] if {
	some note, access in testing.not_text
	result := lib.workspace_access_values with input as testing.requesting({"workspace_access": access})
	testing.reasons(result) == {"workspace_access_unknown"}
	testing.marking(result) == set()
}

test_an_access_in_another_spelling_is_refused[access] if {
	some access in ["write", "READ_ONLY", "read-only", "read_write ", "rw"]
	result := lib.workspace_access_values with input as testing.requesting({"workspace_access": access})
	testing.reasons(result) == {"workspace_access_unknown"}
}

test_an_unknown_stored_access_is_refused_unless_the_request_replaces_it if {
	kept := lib.workspace_access_values with input as testing.stored({"workspace_access": "admin"})
	testing.reasons(kept) == {"workspace_access_unknown"}
	replaced := lib.workspace_access_values with input as testing.review({
		"request": {"workspace_access": "none"},
		"facts": {"workspace": {"workspace_access": "admin"}},
	})
	replaced == set()
}

test_access_to_a_directory_needs_one[note] if {
	some note, changes in {
		"requested": {"request": {"workspace_access": "read_only"}},
		"stored": {"facts": {"workspace": {"workspace_access": "read_write"}}},
		"an empty directory": {"request": {"workspace_access": "read_write", "workspace_dir": ""}},
		"a directory of null": {"request": {"workspace_access": "read_write", "workspace_dir": null}},
	}
	result := lib.workspace_access_values with input as testing.review(changes)
	testing.reasons(result) == {"workspace_dir_missing"}
}

test_access_to_a_directory_needs_one_in_a_new_workspace_too if {
	review := testing.without_row({"request": {"workspace_access": "read_only"}})
	result := lib.workspace_access_values with input as review
	testing.reasons(result) == {"workspace_dir_missing"}
}

test_the_directory_may_come_from_either_side[note] if {
	some note, changes in {
		"both requested": {"request": {"workspace_access": "read_only", "workspace_dir": "/srv/a"}},
		"both stored": {"facts": {"workspace": {"workspace_access": "read_write", "workspace_dir": "/srv/a"}}},
		"stored directory": {
			"request": {"workspace_access": "read_only"},
			"facts": {"workspace": {"workspace_dir": "/srv/a"}},
		},
		"stored access": {
			"request": {"workspace_dir": "/srv/a"},
			"facts": {"workspace": {"workspace_access": "read_write"}},
		},
	}
	result := lib.workspace_access_values with input as testing.review(changes)
	result == set()
}

test_no_access_needs_no_directory[note] if {
	some note, members in {
		"absent": {},
		"null": {"workspace_access": null},
		"empty": {"workspace_access": ""},
		"none": {"workspace_access": "none"},
	}
	result := lib.workspace_access_values with input as testing.requesting(members)
	result == set()
}
