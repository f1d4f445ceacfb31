package admission.lib

# METADATA
# scope: document
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
workspace_requires_secrets contains missing_secret(key, true) if {
	# What the row itself lacks is its state, whoever asks, and marks it.
	some keys in row_lists
	names_secrets(keys)
	some key in keys
	not has_secret(key)
}

# What a claimed kind or runtime lacks marks only if the caller proved itself.
workspace_requires_secrets contains missing_secret(key, caller_proved) if {
	some keys in claim_lists
	names_secrets(keys)
	some key in keys
	not needed_by_row(key)
	not has_secret(key)
}

workspace_requires_secrets contains malformed_list if {
	some keys in row_lists
	not names_secrets(keys)
}

workspace_requires_secrets contains malformed_list if {
	some keys in claim_lists
	not names_secrets(keys)
}

missing_secret(key, marks) := {
	"reason": "secret_missing",
	"message": sprintf("The workspace has no %s secret of its own.", [key]),
	"mark_failed": marks,
}

malformed_list := {
	"reason": "required_secrets_malformed",
	"message": "The policies' list of secrets for this kind or runtime is not a list of names.",
	"mark_failed": false,
}

needed_by_row(key) if {
	some keys in row_lists
	names_secrets(keys)
	key in keys
}

row_lists contains data.required_secrets[input.facts.workspace.kind] if input.facts.workspace.kind != "platform"

row_lists contains data.required_runtime_secrets[input.facts.workspace.runtime]

claim_lists contains data.required_secrets[input.request.kind] if input.request.kind != "platform"

# A workspace that is new and says no kind becomes an ordinary one.
claim_lists contains data.required_secrets.workspace if {
	not input.facts.exists
	not kind_requested
}

claim_lists contains data.required_runtime_secrets[input.request.runtime] if not runtime_stored

kind_requested if {
	kind := input.request.kind
	not kind in {null, ""}
}

runtime_stored if {
	runtime := input.facts.workspace.runtime
	not runtime in {null, ""}
}
