package admission.removed_stays_removed_test

import data.admission.heartbeat
import data.admission.lib
import data.admission.register
import data.admission.testing

test_a_removed_workspace_cannot_come_back_by_either_hook if {
	registered := register.deny with input as testing.stored({"status": "removed"})
	testing.reasons(registered) == {"workspace_removed"}
	review := object.union(testing.stored({"status": "removed"}), {
		"hook": "heartbeat",
		"request": {"from_status": "offline", "to_status": "online"},
	})
	promoted := heartbeat.deny with input as review
	testing.reasons(promoted) == {"workspace_removed"}
	testing.marking(promoted) == set()
}

test_every_other_status_may_come_online[note] if {
	some note in array.concat([status | some status in data.statuses; status != "removed"], [null])
	result := lib.removed_stays_removed with input as testing.stored({"status": note})
	result == set()
}

test_the_request_has_no_say_in_the_status if {
	result := lib.removed_stays_removed with input as testing.review({
		"request": {"status": "online"},
		"facts": {"workspace": {"status": "removed"}},
	})
	testing.reasons(result) == {"workspace_removed"}
}
