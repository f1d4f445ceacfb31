package admission.register_test

import data.admission.register
import data.admission.testing

test_an_ordinary_re_register_is_admitted if {
	result := register.deny with input as testing.base
	result == set()
}

test_a_new_workspace_is_admitted if {
	result := register.deny with input as testing.without_row({"request": {
		"kind": "workspace",
		"name": "Reader",
		"tier": 2,
		"agent_card": null,
		"mcp_server_present": null,
		"delivery_mode": "push",
	}})
	result == set()
}

test_a_new_platform_agent_is_admitted_from_the_install_path if {
	result := register.deny with input as testing.without_row({
		"request": {"kind": "platform", "mcp_server_present": true},
		"caller_proof": "install",
		"facts": {"secret_keys": ["MODEL"]},
	})
	result == set()
}

# Every rule is passed on to the hook, and none stops another.
test_all_that_is_wrong_is_reported_at_once if {
	result := register.deny with input as testing.review({
		"caller_proof": "bootstrap",
		"request": {
			"kind": "platform", "url": "", "delivery_mode": "Push", "mcp_server_present": "false", "tier": "1",
			"name": 7, "parent_id": "x", "workspace_access": "all", "workspace_dir": "/etc",
		},
		"url": {"valid": false, "scheme": "", "host": "", "port": 0},
		"facts": {"workspace": {"status": "removed", "runtime": "crew", "budget_limit": 1, "monthly_spend": 1}},
	})
		with data.required_runtime_secrets as {"crew": ["CREW_KEY"]}
	testing.reasons(result) == {
		"model_missing", "not_install", "parent_requested", "workspace_removed", "secret_missing",
		"url_missing", "workspace_dir_system", "workspace_access_unknown", "delivery_mode_unknown",
		"mcp_server_present_not_boolean", "tier_unknown", "budget_exceeded", "name_not_single_line",
	}
	testing.marking(result) == {"secret_missing"}
}

test_members_of_any_type_are_denied_without_breaking_the_evaluation[note] if {
	some note, value in testing.not_text
	result := register.deny with input as testing.requesting({member: value |
		some member in [
			"kind", "url", "delivery_mode", "tier", "name", "role", "model", "runtime", "parent_id",
			"workspace_access", "workspace_dir", "mcp_server_present", "agent_card",
		]
	})
	testing.reasons(result) & {"kind_unknown", "url_invalid", "delivery_mode_unknown", "name_not_single_line"} == {
		"kind_unknown", "url_invalid", "delivery_mode_unknown", "name_not_single_line",
	}
	testing.marking(result) == set()
}
