package admission.lib

# METADATA
# scope: document
# title: The tier is one of those that exist
# description: The tier decides how much of the machine an agent may use.
# custom:
#   code: TIER_INVALID
#   severity: medium
#   status: 400
#   mark_failed: false
tier_range contains violation if {
	tier := input.request.tier
	tier != null
	not tier_exists(tier)
	violation := {
		"reason": "tier_unknown",
		"message": "The request's tier is not a whole number in the allowed range.",
	}
}

tier_range contains violation if {
	tier := input.facts.workspace.tier
	tier != null
	not tier_exists(tier)
	violation := {
		"reason": "stored_tier_unknown",
		"message": "The workspace is stored with a tier outside the allowed range.",
	}
}

# Values of different types compare too: text is above every number, so a limit
# or a tier that is no number has to be found out first.
tier_exists(tier) if {
	is_number(tier)
	tier >= lowest_tier
	tier <= highest_tier
	floor(tier) == tier
}

lowest_tier := data.tiers.min if is_number(data.tiers.min)

highest_tier := data.tiers.max if is_number(data.tiers.max)
