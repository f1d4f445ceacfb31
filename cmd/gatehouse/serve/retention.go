package serve

import (
	"errors"
	"time"
)

// retentionFlags say how long decisions are kept.
type retentionFlags struct {
	Retention time.Duration `help:"How long decisions and the uids of their requests are kept, in whole days and never for less; 0 for ever." default:"720h"`
}

func (f retentionFlags) check() error {
	const least = 24 * time.Hour
	if f.Retention < 0 {
		return errors.New("--retention must not be negative")
	}
	if f.Retention != 0 && f.Retention < least {
		return errors.New("--retention must be at least 24h, or 0 to keep all decisions")
	}
	return nil
}
