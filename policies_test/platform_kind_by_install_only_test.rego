package admission.platform_kind_by_install_only_test

import data.admission.lib
import data.admission.testing

test_a_caller_other_than_install_cannot_turn_a_workspace_into_a_platform_agent[proof] if {
	some proof in ["token", "bootstrap", "INSTALL", ""]
	review := testing.review({"request": {"kind": "platform"}, "caller_proof": proof})
	result := lib.platform_kind_by_install_only with input as review
	testing.reasons(result) == {"not_install"}
	testing.marking(result) == set()
}

test_a_caller_other_than_install_cannot_create_a_platform_agent[proof] if {
	some proof in ["token", "bootstrap"]
	review := testing.without_row({"request": {"kind": "platform"}, "caller_proof": proof})
	result := lib.platform_kind_by_install_only with input as review
	testing.reasons(result) == {"not_install"}
}

test_the_install_path_creates_and_promotes if {
	created := lib.platform_kind_by_install_only with input as testing.without_row({
		"request": {"kind": "platform"},
		"caller_proof": "install",
	})
	created == set()
	promoted := lib.platform_kind_by_install_only with input as testing.review({
		"request": {"kind": "platform"},
		"caller_proof": "install",
	})
	promoted == set()
}

test_a_stored_platform_agent_may_say_what_it_is[proof] if {
	some proof in ["token", "bootstrap", "install"]
	review := testing.review({
		"request": {"kind": "platform"},
		"caller_proof": proof,
		"facts": {"workspace": {"kind": "platform"}},
	})
	result := lib.platform_kind_by_install_only with input as review
	result == set()
}

test_other_kinds_are_anyone_s[note] if {
	some note, kind in {"workspace": "workspace", "empty": "", "null": null}
	result := lib.platform_kind_by_install_only with input as testing.requesting({"kind": kind})
	result == set()
}
