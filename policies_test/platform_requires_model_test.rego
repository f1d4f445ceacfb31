package admission.platform_requires_model_test

import data.admission.heartbeat
import data.admission.lib
import data.admission.register
import data.admission.testing

platform_row(secret_keys) := testing.review({"facts": {
	"workspace": {"kind": "platform"},
	"secret_keys": secret_keys,
}})

claim(changes) := object.union(testing.requesting({"kind": "platform"}), changes)

test_a_stored_platform_row_without_model_is_denied_and_marked_though_its_kind_is_omitted if {
	result := lib.platform_requires_model with input as platform_row([])
	result == {{
		"reason": "model_missing",
		"message": "The platform agent has no MODEL secret of its own.",
		"mark_failed": true,
	}}
}

test_a_stored_platform_row_is_denied_whatever_kind_it_claims[note] if {
	some note, kind in object.union(testing.not_text, {"workspace": "workspace", "empty": "", "null": null})
	review := object.union(platform_row([]), {"request": {"kind": kind}})
	result := lib.platform_requires_model with input as review
	testing.marking(result) == {"model_missing"}
}

test_a_platform_agent_with_model_is_allowed if {
	result := lib.platform_requires_model with input as platform_row(["MODEL"])
	result == set()
}

test_secret_keys_may_be_a_set_as_they_are_in_the_engine if {
	with_model := lib.platform_requires_model with input as platform_row({"MODEL", "OTHER"})
	with_model == set()
	without_model := lib.platform_requires_model with input as platform_row({"OTHER"})
	testing.reasons(without_model) == {"model_missing"}
}

test_only_the_exact_key_counts[note] if {
	some note, key in {
		"lower case": "model",
		"trailing space": "MODEL ",
		"leading space": " MODEL",
		"longer": "MODEL_PROVIDER",
		"line break": "MODEL\n",
		"look-alike letter": "МODEL",
		"empty": "",
	}
	result := lib.platform_requires_model with input as platform_row([key])
	testing.reasons(result) == {"model_missing"}
}

test_a_global_secret_does_not_count if {
	review := object.union(platform_row([]), {"facts": {"global_secret_keys": ["MODEL"]}})
	result := lib.platform_requires_model with input as review
	testing.reasons(result) == {"model_missing"}
}

test_an_ordinary_workspace_needs_no_model if {
	result := lib.platform_requires_model with input as testing.base
	result == set()
}

test_a_stored_platform_row_is_marked_whatever_the_proof[proof] if {
	some proof in ["token", "bootstrap", "install"]
	review := object.union(platform_row([]), {"caller_proof": proof})
	result := lib.platform_requires_model with input as review
	testing.marking(result) == {"model_missing"}
}

test_a_claim_for_a_row_of_another_kind_marks_only_if_proved[proof] if {
	some proof, marks in {"token": {"model_missing"}, "install": {"model_missing"}, "bootstrap": set()}
	result := lib.platform_requires_model with input as claim({"caller_proof": proof})
	testing.reasons(result) == {"model_missing"}
	testing.marking(result) == marks
}

test_a_claim_without_a_row_marks_only_if_proved[proof] if {
	some proof, marks in {"token": {"model_missing"}, "install": {"model_missing"}, "bootstrap": set()}
	review := testing.without_row({"request": {"kind": "platform"}, "caller_proof": proof})
	result := lib.platform_requires_model with input as review
	testing.reasons(result) == {"model_missing"}
	testing.marking(result) == marks
}

test_an_unknown_proof_proves_nothing if {
	result := lib.platform_requires_model with input as claim({"caller_proof": "TOKEN"})
	testing.reasons(result) == {"model_missing"}
	testing.marking(result) == set()
}

test_a_platform_agent_that_reports_no_mcp_server_is_denied if {
	review := object.union(platform_row(["MODEL"]), {"request": {"mcp_server_present": false}})
	result := lib.platform_requires_model with input as review
	result == {{
		"reason": "mcp_server_missing",
		"message": "The platform agent reports that it has no MCP server.",
		"mark_failed": true,
	}}
}

test_only_an_explicit_false_says_that_the_mcp_server_is_missing[note] if {
	some note, value in {"null": null, "true": true, "text": "false", "zero": 0, "empty": "", "array": [false]}
	review := object.union(platform_row(["MODEL"]), {"request": {"mcp_server_present": value}})
	result := lib.platform_requires_model with input as review
	result == set()
}

test_a_missing_mcp_server_is_the_request_s_word_and_never_marks_on_bootstrap if {
	review := object.union(platform_row([]), {
		"request": {"mcp_server_present": false},
		"caller_proof": "bootstrap",
	})
	result := lib.platform_requires_model with input as review
	testing.reasons(result) == {"model_missing", "mcp_server_missing"}
	testing.marking(result) == {"model_missing"}
}

test_an_ordinary_workspace_needs_no_mcp_server if {
	result := lib.platform_requires_model with input as testing.requesting({"mcp_server_present": false})
	result == set()
}

test_every_required_key_is_asked_for if {
	result := lib.platform_requires_model with input as platform_row(["MODEL"])
		with data.required_secrets.platform as ["MODEL", "SOUL", "VOICE_KEY"]
	testing.marking(result) == {"soul_missing", "voice_key_missing"}
}

test_a_platform_agent_is_denied_unmarked_if_the_data_requires_nothing[note] if {
	some note, keys in {
		"an empty list": [],
		"null": null,
		"text": "MODEL",
		"an object": {"MODEL": true}, "an object of names": {"key": "MODEL"},
		"a number": 1,
		"false": false,
		"a list with a number": ["MODEL", 1],
		"a list with null": [null],
		"an empty name": [""],
	}
	result := lib.platform_requires_model with input as platform_row(["MODEL"])
		with data.required_secrets.platform as keys
	testing.reasons(result) == {"required_secrets_undefined"}
	testing.marking(result) == set()
}

test_a_platform_agent_is_denied_if_the_data_is_missing if {
	result := lib.platform_requires_model with input as platform_row(["MODEL"])
		with data.required_secrets as {}
	testing.reasons(result) == {"required_secrets_undefined"}
}

test_both_hooks_ask if {
	registered := register.deny with input as platform_row([])
	testing.reasons(registered) == {"model_missing"}
	promoted := heartbeat.deny with input as object.union(platform_row([]), {"hook": "heartbeat"})
	testing.reasons(promoted) == {"model_missing"}
}

test_facts_without_secret_keys_show_no_secret if {
	review := json.remove(platform_row([]), ["facts/secret_keys"])
	result := lib.platform_requires_model with input as review
	testing.reasons(result) == {"model_missing"}
}
