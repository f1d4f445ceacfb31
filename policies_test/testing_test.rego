# What the tests of all rules start from.
package admission.testing

# A stored workspace registers again; no rule objects.
base := {
	"hook": "register",
	"dry_run": false,
	"caller_proof": "token",
	"request": {
		"id": "01890a5d-ac96-774b-bcce-b302099a8057",
		"url": "https://agent.example.com",
	},
	"facts": {
		"exists": true,
		"workspace": {
			"kind": "workspace", "status": "provisioning", "name": "reader", "tier": 1,
			"runtime": null, "role": null, "url": null, "parent_id": null,
			"workspace_access": null, "workspace_dir": null, "budget_limit": null, "monthly_spend": null,
			"delivery_mode": "push", "last_sample_error": null,
		},
		"secret_keys": [],
		"global_secret_keys": [],
	},
	"url": {
		"valid": true, "scheme": "https", "host": "agent.example.com",
		"ip": "", "port": 443, "userinfo": false,
	},
	"deployment": {"saas": false},
}

# Objects merge, everything else is replaced.
review(changes) := object.union(base, changes)

without_row(changes) := object.union(
	json.patch(base, [
		{"op": "replace", "path": "/facts/exists", "value": false},
		{"op": "replace", "path": "/facts/workspace", "value": {}},
	]),
	changes,
)

requesting(members) := review({"request": members})

stored(columns) := review({"facts": {"workspace": columns}})

reasons(violations) := {violation.reason | some violation in violations}

marking(violations) := {violation.reason | some violation in violations; violation.mark_failed}

# One value of every JSON type, with the ones that are easily taken for another.
not_text := {
	"a number": 7,
	"zero": 0,
	"true": true,
	"false": false,
	"an array": ["platform"],
	"an empty array": [],
	"an object": {"kind": "platform"},
	"an empty object": {},
}
