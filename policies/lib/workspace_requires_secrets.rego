package admission.lib

# METADATA
# title: A workspace has the secrets that its kind and runtime need
# description: >-
#   What required_secrets says for kinds other than platform, and
#   required_runtime_secrets for every kind. Presence of the exact key among
#   the workspace's own secrets counts.
# custom:
#   code: REQUIRED_SECRETS_MISSING
#   severity: high
#   status: 400
#   mark_failed: true
#   answer: workspace is missing required secrets
workspace_requires_secrets contains violation if some violation in secret_gaps

secret_gaps contains violation if {
	some key in (needed_by_row | needed_by_claim)
	not has_secret(key)
	violation := {
		"reason": "secret_missing",
		"message": sprintf("The workspace has no %s secret of its own.", [key]),
		"mark_failed": need_marks(key),
	}
}

secret_gaps contains violation if {
	malformed_list
	violation := {
		"reason": "required_secrets_malformed",
		"message": "The policies' list of secrets for this kind or runtime is not a list of names.",
		"mark_failed": false,
	}
}

malformed_list if {
	some keys in (row_lists | claim_lists)
	not names_secrets(keys)
}

needed_by_row contains key if {
	some keys in row_lists
	names_secrets(keys)
	some key in keys
}

needed_by_claim contains key if {
	some keys in claim_lists
	names_secrets(keys)
	some key in keys
}

row_lists contains data.required_secrets[input.facts.workspace.kind] if not stored_platform

row_lists contains data.required_runtime_secrets[input.facts.workspace.runtime]

claim_lists contains data.required_secrets[input.request.kind] if not claims_platform

# A workspace that is new and says no kind becomes an ordinary one.
claim_lists contains data.required_secrets.workspace if {
	not input.facts.exists
	not given("kind")
}

claim_lists contains data.required_runtime_secrets[input.request.runtime] if not runtime_stored

runtime_stored if {
	runtime := input.facts.workspace.runtime
	not runtime in {null, ""}
}

# As for a platform agent: the row's own needs are its state whoever asks, a
# claimed kind or runtime counts only if the caller proved itself.
need_marks(key) if key in needed_by_row

need_marks(key) := caller_proved if not key in needed_by_row
