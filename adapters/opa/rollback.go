package opa

import (
	"errors"
	"fmt"
	"time"

	"github.com/molecule-ai/gatehouse/server/ledger"
)

// clockSkew is how far the clock of whoever builds bundles may be ahead.
const clockSkew = 10 * time.Minute

// checkOrder refuses a signed bundle that is older than the signed one that was live last, from whatever source. Unsigned bundles
// have no order: whoever can replace one can also change its time.
func (e *Engine) checkOrder(next *ledger.Bundle) error {
	if !next.IsSigned() || e.options.AllowRollback {
		return nil
	}
	// A time far ahead would lock out every bundle that is built until then.
	if next.BuiltAt.After(e.now().Add(clockSkew)) {
		return fmt.Errorf("the bundle says it was built at %s, which is in the future", stamp(next.BuiltAt))
	}
	return checkNewer(next, e.newest.Load())
}

func checkNewer(next, last *ledger.Bundle) error {
	switch {
	case last == nil || last.BuiltAt.IsZero():
		return nil
	case next.BuiltAt.IsZero():
		return errors.New("rollback: the bundle does not say when it was built, and the one that was live last does; " +
			"build it with gatehouse bundle build, or start with --allow-rollback")
	case next.BuiltAt.Before(last.BuiltAt):
		return fmt.Errorf("rollback: the bundle was built at %s, before the one that was live last (%s, signed by %s); "+
			"start with --allow-rollback to accept it", stamp(next.BuiltAt), describe(last), last.SignedBy)
	}
	return nil
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }

// describe names a bundle in a message.
func describe(b *ledger.Bundle) string {
	if b.Revision == "" {
		return stamp(b.BuiltAt)
	}
	return fmt.Sprintf("%s, revision %s", stamp(b.BuiltAt), b.Revision)
}
