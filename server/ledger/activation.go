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
	Reason    string  // why they were refused
	Bundle    *Bundle // nil unless a bundle became live
}

// Bundle is what a bundle of policies says of itself.
type Bundle struct {
	Revision string    // what its author calls it; "" for nothing
	BuiltAt  time.Time // zero when it does not say
	SignedBy string    // fingerprint of the configured key that verified it; "" when no signature was verified
}

// IsSigned says whether there is an order of such bundles: a time that nobody can change who has not the key.
func (b *Bundle) IsSigned() bool { return b != nil && b.SignedBy != "" }
