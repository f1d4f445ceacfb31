package connection

import (
	"context"
	"errors"
	"io"
	"net"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/molecule-ai/gatehouse/server/admission"
)

// SQLSTATE codes and classes of a database that takes no writes, whatever is in them.
const (
	readOnlyTransaction   = "25006"
	diskFull              = "53100"
	lockNotAvailable      = "55P03"
	insufficientPrivilege = "42501"
	undefinedTable        = "42P01"
	invalidSchema         = "3F000"

	classConnection = "08"
	classResources  = "53"
	classOperator   = "57P" // shutting down, starting
	classSystem     = "58"
	classDamaged    = "XX0"
)

// ExplainLedger says of an error of the ledger what a caller can branch on: that the context ended, or, as
// admission.LedgerUnavailable, that it is the database that takes no decisions.
func ExplainLedger(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	err = Explain(ctx, err)
	var coded *admission.Error
	if ctx.Err() != nil || errors.As(err, &coded) {
		return err
	}
	reason := unavailable(err)
	if reason == "" {
		return err
	}
	return admission.LedgerUnavailable(reason, err)
}

// unavailable says in plain words why the database takes no writes now; "" if err has another cause.
func unavailable(err error) string {
	var refused *pgconn.PgError
	if errors.As(err, &refused) {
		return refusal(refused.Code)
	}
	var connecting *pgconn.ConnectError
	var network net.Error
	if errors.As(err, &connecting) || errors.As(err, &network) || pgconn.SafeToRetry(err) ||
		errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) {
		return "the database cannot be reached"
	}
	return ""
}

func refusal(code string) string {
	switch code {
	case readOnlyTransaction:
		return "the database is read-only"
	case diskFull:
		return "the database's disk is full"
	case lockNotAvailable:
		return "another transaction holds a lock for too long"
	case insufficientPrivilege:
		return "the database role may not write what it has to"
	case undefinedTable, invalidSchema:
		return "a table is missing"
	}
	switch {
	case len(code) != 5:
		return ""
	case code[:2] == classConnection, code[:3] == classOperator:
		return "the database cannot be reached"
	case code[:2] == classResources, code[:2] == classSystem, code[:3] == classDamaged:
		return "the database is in trouble"
	default:
		return ""
	}
}

// IsOfTheDatabase tells whether each item of a batch would meet this error, too. A broken connection is not such an error: the next
// one may work. Nor is a locked row. The server names the place of a locked row, and none of a locked table.
func IsOfTheDatabase(err error) bool {
	var refused *pgconn.PgError
	if !errors.As(err, &refused) {
		return false
	}
	switch refused.Code {
	case readOnlyTransaction, diskFull:
		return true
	case lockNotAvailable:
		return refused.Where == ""
	default:
		return false
	}
}

// IsLockTimeout says whether a lock was not to be had in time.
func IsLockTimeout(err error) bool {
	var refused *pgconn.PgError
	return errors.As(err, &refused) && refused.Code == lockNotAvailable
}
