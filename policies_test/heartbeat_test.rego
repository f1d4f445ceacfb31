package admission.heartbeat_test

import data.admission.heartbeat
import data.admission.testing

beat(changes) := object.union_n([
	json.remove(
		object.union(testing.base, {"hook": "heartbeat", "request": {"from_status": "offline", "to_status": "online"}}),
		["request/url"],
	),
	{"url": {"valid": false, "scheme": "", "host": "", "ip": "", "port": 0, "userinfo": false}},
	changes,
])

test_an_ordinary_heartbeat_is_admitted_without_a_url if {
	result := heartbeat.deny with input as beat({})
	result == set()
}

test_a_heartbeat_need_not_say_the_statuses[note] if {
	some note, status in {"null": null, "empty": ""}
	result := heartbeat.deny with input as beat({"request": {"from_status": status, "to_status": status}})
	result == set()
}

test_a_heartbeat_without_statuses_is_admitted if {
	review := json.remove(beat({}), ["request/from_status", "request/to_status"])
	result := heartbeat.deny with input as review
	result == set()
}

test_a_heartbeat_of_an_unknown_workspace_is_refused if {
	review := json.patch(beat({}), [
		{"op": "replace", "path": "/facts/exists", "value": false},
		{"op": "replace", "path": "/facts/workspace", "value": {}},
	])
	result := heartbeat.deny with input as review
	testing.reasons(result) == {"workspace_unknown"}
	testing.marking(result) == set()
}

test_every_known_status_may_be_where_it_comes_from[status] if {
	some status in [
		"provisioning", "online", "offline", "degraded", "failed",
		"removed", "paused", "hibernated", "awaiting_agent",
	]
	result := heartbeat.deny with input as beat({"request": {"from_status": status}})
	result == set()
}

test_an_unknown_from_status_is_refused[note] if {
	some note, status in object.union(testing.not_text, {"capital": "Offline", "unknown": "asleep"})
	result := heartbeat.deny with input as beat({"request": {"from_status": status}})
	testing.reasons(result) == {"from_status_unknown"}
	testing.marking(result) == set()
}

test_a_to_status_other_than_online_is_refused[note] if {
	some note, status in object.union(testing.not_text, {"capital": "Online", "another": "offline", "array": ["online"]})
	result := heartbeat.deny with input as beat({"request": {"to_status": status}})
	testing.reasons(result) == {"to_status_not_online"}
}

test_all_that_is_wrong_is_reported_at_once if {
	result := heartbeat.deny with input as beat({
		"caller_proof": "bootstrap",
		"request": {
			"kind": "platform", "url": 5, "delivery_mode": "Push", "mcp_server_present": "false", "tier": "1",
			"name": 7, "parent_id": "x", "workspace_access": "all", "workspace_dir": "/etc",
		},
		"facts": {"workspace": {"status": "removed", "runtime": "crew", "budget_limit": 1, "monthly_spend": 1}},
	})
		with data.required_runtime_secrets as {"crew": ["CREW_KEY"]}
	testing.reasons(result) == {
		"model_missing", "not_install", "parent_requested", "workspace_removed", "secret_missing",
		"url_invalid", "workspace_dir_system", "workspace_access_unknown", "delivery_mode_unknown",
		"mcp_server_present_not_boolean", "tier_unknown", "budget_exceeded", "name_not_single_line",
	}
}

test_without_the_list_of_statuses_none_is_known if {
	result := heartbeat.deny with input as beat({}) with data.statuses as null
	testing.reasons(result) == {"from_status_unknown"}
}

test_the_kind_is_judged_as_in_a_registration if {
	result := heartbeat.deny with input as beat({"request": {"kind": "Platform"}})
	testing.reasons(result) == {"kind_unknown"}
}
