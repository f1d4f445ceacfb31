package ledger

import (
	"time"

	"github.com/google/uuid"
)

// Activation is one set of policies that became live, or was refused.
type Activation struct {
	ID        uuid.UUID // version 7: ordered by time
	At        time.Time
	Source    string
	Revision  string // "" when policies were refused before their content was known
	Activated bool
	Reason    string           // why they were refused
	Bundle    *ActivatedBundle // nil unless a bundle became live
}

// ActivatedBundle is what says which bundle is older than another.
type ActivatedBundle struct {
	Revision string    // what its author calls it
	BuiltAt  time.Time // zero when it does not say
	SignedBy string    // fingerprint of the key; "" when no signature was verified
}
