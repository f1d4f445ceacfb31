# Six rules as `make bench` gives them, byte for byte, to both servers that it compares. They begin with
# equalities, which OPA's rule index can use.
package admission.register

# METADATA
# title: A platform agent has its model
# description: The kind is the stored one or the requested one.
# custom: {code: MODEL_MISSING, severity: critical, status: 400, mark_failed: true, answer: incomplete}
deny contains violation if {
	input.facts.workspace.kind == "platform"
	not "MODEL" in input.facts.secret_keys
	violation := {"reason": "model_missing", "message": "The platform agent has no MODEL secret of its own."}
}

# METADATA
# title: A runtime has the secrets it needs
# description: Only their presence counts.
# custom: {code: SECRETS_MISSING, severity: high, status: 400, mark_failed: true}
deny contains violation if {
	input.facts.workspace.runtime == "langgraph"
	some key in data.required_secrets.langgraph
	not key in input.facts.secret_keys
	violation := {"reason": "secret_missing", "message": sprintf("The secret %s is missing.", [key])}
}

# METADATA
# title: A removed workspace stays removed
# description: It cannot come back by registering.
# custom: {code: REMOVED, severity: high, status: 410}
deny contains violation if {
	input.facts.workspace.status == "removed"
	violation := {"reason": "removed", "message": "The workspace has been removed."}
}

# METADATA
# title: In push mode there is a URL
# description: Push is what no mode means, too.
# custom: {code: URL_INVALID, severity: high, status: 400}
deny contains violation if {
	input.url.valid == false
	input.request.delivery_mode == "push"
	violation := {"reason": "url_invalid", "message": "The URL is missing or cannot be read."}
}

# METADATA
# title: The URL is no address that agents may not have
# description: Nothing is looked up.
# custom: {code: URL_UNSAFE, severity: high, status: 400}
deny contains violation if {
	input.url.valid == true
	input.url.ip != ""
	some range in data.refused_ranges
	net.cidr_contains(range, input.url.ip)
	violation := {"reason": "url_refused", "message": sprintf("The address is in %s.", [range])}
}

# METADATA
# title: The tier is one that there is
# description: From 1 to the highest.
# custom: {code: TIER_INVALID, severity: medium, status: 400}
deny contains violation if {
	input.facts.exists == true
	input.facts.workspace.tier > data.tiers.max
	violation := {"reason": "tier_unknown", "message": "The workspace has a tier outside the allowed range."}
}
