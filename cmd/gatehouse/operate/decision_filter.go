package operate

import (
	"errors"
	"fmt"
	"time"

	"github.com/molecule-ai/gatehouse/internal/durations"
	"github.com/molecule-ai/gatehouse/server/admission/decode"
	"github.com/molecule-ai/gatehouse/server/ledger"
)

// decisionFilterFlags select decisions.
type decisionFilterFlags struct {
	Hook      string `env:"-" help:"Only those of this hook." placeholder:"HOOK"`
	Verdict   string `env:"-" help:"Only those with this verdict: allow, deny, error." enum:",allow,deny,error" default:""`
	Code      string `env:"-" help:"Only those that were denied with this code, or answered with this error." placeholder:"CODE"`
	Workspace string `env:"-" help:"Only those of this workspace." placeholder:"ID"`
	UID       string `env:"-" name:"uid" help:"Only those of the request with this uid." placeholder:"UID"`
}

func (f decisionFilterFlags) filter() (ledger.Filter, error) {
	filter := ledger.Filter{Hook: f.Hook, Code: f.Code, UID: f.UID}
	switch f.Verdict {
	case "allow", "deny":
		filter.Allowed = new(f.Verdict == "allow")
	case "error":
		filter.Failed = new(true)
	}
	if f.Workspace == "" {
		return filter, nil
	}
	var err error
	filter.WorkspaceID, err = decode.ParseWorkspaceID(f.Workspace)
	if err != nil {
		return filter, fmt.Errorf("--workspace: %w", err)
	}
	return filter, nil
}

// timeFlags select a span of time.
type timeFlags struct {
	Since moment `env:"-" help:"From then on: a time (RFC 3339) or how long ago, like 24h." placeholder:"WHEN"`
	Until moment `env:"-" help:"Up to then." placeholder:"WHEN"`
}

func (f timeFlags) apply(filter *ledger.Filter, now time.Time) error {
	var err error
	filter.Since, err = f.Since.at(now)
	if err != nil {
		return fmt.Errorf("--since: %w", err)
	}
	filter.Until, err = f.Until.at(now)
	if err != nil {
		return fmt.Errorf("--until: %w", err)
	}
	return nil
}

// moment is a time, or a time before now.
type moment string

func (m moment) at(now time.Time) (time.Time, error) {
	if m == "" {
		return time.Time{}, nil
	}
	if ago, err := durations.Parse(string(m)); err == nil {
		return now.Add(-ago), nil
	}
	at, err := time.Parse(time.RFC3339, string(m))
	if err != nil {
		return time.Time{}, errors.New("want a time like 2026-01-31T15:00:00Z, or how long ago, like 24h or 7d")
	}
	return at, nil
}
