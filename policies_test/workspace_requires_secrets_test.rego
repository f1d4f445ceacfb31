package admission.workspace_requires_secrets_test

import data.admission.lib
import data.admission.testing

by_kind := {"platform": ["MODEL"], "workspace": ["TOKEN"]}

by_runtime := {"langgraph": ["OPENAI_API_KEY"], "crew": ["CREW_KEY", "TOKEN"]}

test_a_stored_workspace_needs_what_its_kind_needs if {
	result := lib.workspace_requires_secrets with input as testing.base
		with data.required_secrets as by_kind
	result == {{
		"reason": "secret_missing",
		"message": "The workspace has no TOKEN secret of its own.",
		"mark_failed": true,
	}}
}

test_a_stored_workspace_that_has_it_is_accepted if {
	result := lib.workspace_requires_secrets with input as testing.review({"facts": {"secret_keys": ["TOKEN"]}})
		with data.required_secrets as by_kind
	result == set()
}

test_only_the_exact_key_of_the_workspace_s_own_counts if {
	review := testing.review({"facts": {"secret_keys": ["token", "TOKEN "], "global_secret_keys": ["TOKEN"]}})
	result := lib.workspace_requires_secrets with input as review
		with data.required_secrets as by_kind
	testing.reasons(result) == {"secret_missing"}
}

test_a_stored_need_marks_whatever_the_proof[proof] if {
	some proof in ["token", "bootstrap", "install"]
	result := lib.workspace_requires_secrets with input as testing.review({"caller_proof": proof})
		with data.required_secrets as by_kind
	testing.marking(result) == {"secret_missing"}
}

test_platform_agents_are_another_rule_s[note] if {
	some note, review in {
		"stored": testing.stored({"kind": "platform"}),
		"new": testing.without_row({"request": {"kind": "platform"}}),
	}
	result := lib.workspace_requires_secrets with input as review
		with data.required_secrets as by_kind
	result == set()
}

test_claiming_another_kind_does_not_shed_the_stored_one_s_needs if {
	result := lib.workspace_requires_secrets with input as testing.requesting({"kind": "platform"})
		with data.required_secrets as by_kind
	testing.marking(result) == {"secret_missing"}
}

test_a_claimed_kind_marks_only_if_proved[proof] if {
	some proof, marks in {"token": {"secret_missing"}, "install": {"secret_missing"}, "bootstrap": set()}
	result := lib.workspace_requires_secrets with input as testing.review({
		"request": {"kind": "workspace"},
		"caller_proof": proof,
		"facts": {"workspace": {"kind": "platform"}},
	})
		with data.required_secrets as by_kind
	testing.reasons(result) == {"secret_missing"}
	testing.marking(result) == marks
}

test_repeating_the_stored_kind_is_no_mere_claim if {
	result := lib.workspace_requires_secrets with input as testing.review({
		"request": {"kind": "workspace"},
		"caller_proof": "bootstrap",
	})
		with data.required_secrets as by_kind
	count(result) == 1
	testing.marking(result) == {"secret_missing"}
}

test_a_new_workspace_without_a_kind_is_an_ordinary_one[note] if {
	some note, members in {"absent": {}, "null": {"kind": null}, "empty": {"kind": ""}, "said": {"kind": "workspace"}}
	result := lib.workspace_requires_secrets with input as testing.without_row({"request": members})
		with data.required_secrets as by_kind
	testing.reasons(result) == {"secret_missing"}
}

test_every_missing_key_is_reported if {
	result := lib.workspace_requires_secrets with input as testing.stored({"runtime": "crew"})
		with data.required_secrets as by_kind
		with data.required_runtime_secrets as by_runtime
	{violation.message | some violation in result} == {
		"The workspace has no TOKEN secret of its own.",
		"The workspace has no CREW_KEY secret of its own.",
	}
}

test_the_runtime_s_needs_hold_for_platform_agents_too if {
	result := lib.workspace_requires_secrets with input as testing.stored({"kind": "platform", "runtime": "langgraph"})
		with data.required_runtime_secrets as by_runtime
	testing.marking(result) == {"secret_missing"}
}

test_a_requested_runtime_counts_only_if_none_is_stored if {
	unset := lib.workspace_requires_secrets with input as testing.requesting({"runtime": "langgraph"})
		with data.required_runtime_secrets as by_runtime
	testing.marking(unset) == {"secret_missing"}
	set_already := lib.workspace_requires_secrets with input as testing.review({
		"request": {"runtime": "langgraph"},
		"facts": {"workspace": {"runtime": "other"}},
	})
		with data.required_runtime_secrets as by_runtime
	set_already == set()
}

test_a_requested_runtime_does_not_mark_on_bootstrap if {
	result := lib.workspace_requires_secrets with input as testing.review({
		"request": {"runtime": "langgraph"},
		"caller_proof": "bootstrap",
	})
		with data.required_runtime_secrets as by_runtime
	testing.reasons(result) == {"secret_missing"}
	testing.marking(result) == set()
}

test_a_kind_or_runtime_of_another_type_needs_nothing_and_breaks_nothing[note] if {
	some note, value in testing.not_text
	result := lib.workspace_requires_secrets with input as testing.requesting({"kind": value, "runtime": value})
		with data.required_runtime_secrets as by_runtime
	result == set()
}

test_a_malformed_list_denies_and_marks_nothing[note] if {
	review := testing.review({"facts": {"workspace": {"runtime": "crew"}, "secret_keys": ["TOKEN"]}})
	some note, keys in {"text": "TOKEN", "null": null, "an object": {"TOKEN": true}, "a number in it": ["TOKEN", 1], "an empty name": [""]}
	kind := lib.workspace_requires_secrets with input as review
		with data.required_secrets.workspace as keys
	testing.reasons(kind) == {"required_secrets_malformed"}
	testing.marking(kind) == set()
	runtime := lib.workspace_requires_secrets with input as review
		with data.required_runtime_secrets.crew as keys
	testing.reasons(runtime) == {"required_secrets_malformed"}
}

test_by_default_an_ordinary_workspace_needs_nothing if {
	result := lib.workspace_requires_secrets with input as testing.stored({"runtime": "langgraph"})
	result == set()
}

test_an_empty_list_needs_nothing if {
	result := lib.workspace_requires_secrets with input as testing.base
		with data.required_secrets.workspace as []
	result == set()
}

test_a_malformed_list_for_a_claimed_kind_denies_as_well if {
	review := testing.without_row({"request": {"kind": "workspace"}})
	result := lib.workspace_requires_secrets with input as review
		with data.required_secrets.workspace as ["TOKEN", 1]
	testing.reasons(result) == {"required_secrets_malformed"}
}
