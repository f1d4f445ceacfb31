package admission

import (
	"time"

	"github.com/google/uuid"
)

// PolicyActivation is one set of policies that became live, or was refused.
type PolicyActivation struct {
	ID        uuid.UUID // version 7: ordered by time
	At        time.Time
	Source    string
	Revision  string // "" when policies were refused before their content was known
	Activated bool
	Reason    string // why they were refused
}
