package admission.heartbeat

# METADATA
# scope: document
# title: A heartbeat promotes from a known status to online
# description: >-
#   The gate is asked only when a heartbeat is about to bring a workspace
#   online; any other change of status is not what it decides on.
# custom:
#   code: STATUS_INVALID
#   severity: medium
#   status: 400
#   mark_failed: false
status_values contains violation if {
	status := input.request.from_status
	not status in {null, ""}
	not from_status_known
	violation := {
		"reason": "from_status_unknown",
		"message": "The heartbeat's from_status is not a status that a workspace can have.",
	}
}

status_values contains violation if {
	status := input.request.to_status
	not status in {null, "", "online"}
	violation := {
		"reason": "to_status_not_online",
		"message": "The heartbeat's to_status is something other than online.",
	}
}

from_status_known if input.request.from_status in data.statuses
