package serve

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/molecule-ai/gatehouse/internal/rereadfile"
)

// adminFlags are for looking into a server that runs.
type adminFlags struct {
	Pprof       bool   `help:"Serve profiles of this process at /debug/pprof/ on --admin-listen. See docs/operations.md."`
	AdminListen string `help:"Address and port of the listener for --pprof: loopback only, and open to whoever is on this machine." default:"127.0.0.1:8182"`
}

// auditFlags say when serve audits the stored workspaces.
type auditFlags struct {
	AuditInterval time.Duration `help:"How often every stored workspace is evaluated by the live policies; 0 for never. See docs/operations.md." default:"0s"`
	AuditRate     int           `help:"Workspaces that the audit looks at in a second; 0 for as many as it can." default:"2000"`
	AuditEnforce  bool          `help:"The audit enforces: workspaces with a violation that marks are marked failed, and announced."`
}

// leastAuditInterval keeps a server from doing nothing but audits.
const leastAuditInterval = time.Second

func (f auditFlags) check() error {
	switch {
	case f.AuditInterval < 0:
		return errors.New("--audit-interval must not be negative")
	case f.AuditInterval > 0 && f.AuditInterval < leastAuditInterval:
		return fmt.Errorf("--audit-interval must be at least %s, or 0 for never", leastAuditInterval)
	case f.AuditRate < 0:
		return errors.New("--audit-rate must not be negative")
	default:
		return nil
	}
}

// feedFlags say how serve keeps its policies those of their source.
type feedFlags struct {
	PoliciesPoll     time.Duration `help:"How often the source is asked for changes; 0 for every second (files) or half a minute (servers)." default:"0s"`
	PoliciesLongPoll time.Duration `help:"How long a bundle server may hold its answer back until there is something new; 0 to ask for none." default:"30s"`
	PoliciesCache    string        `help:"Directory for the last good bundle of a server, to start from when the server is away; none to keep none. By default beside the SQLite file; with Postgres none." placeholder:"DIR"`
	MaxPolicyAge     time.Duration `help:"Time after which policies whose source has not confirmed them make the server not ready; 0 for never." default:"0s"`
	AllowRollback    bool          `env:"-" help:"Accept a signed bundle that is older than the one that was live last."`
}

// leastPoll keeps a source from being asked without a pause.
const leastPoll = 10 * time.Millisecond

func (f feedFlags) check() error {
	for flag, value := range map[string]time.Duration{
		"policies-poll": f.PoliciesPoll, "policies-long-poll": f.PoliciesLongPoll, "max-policy-age": f.MaxPolicyAge,
	} {
		if value < 0 {
			return fmt.Errorf("--%s must not be negative", flag)
		}
	}
	if f.PoliciesPoll > 0 && f.PoliciesPoll < leastPoll {
		return fmt.Errorf("--policies-poll must be at least %s, or 0 for the usual", leastPoll)
	}
	return nil
}

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

// rolloutFlags are for policies that are to be watched before they decide.
type rolloutFlags struct {
	DryRun         bool   `help:"Enforce nothing: every deny is recorded, and answered as an allow with warnings. See docs/operations.md."`
	ShadowPolicies string `help:"Candidate policies, from where --policies may be, that are evaluated beside the live ones. See docs/shadow.md." placeholder:"SOURCE"`
	ShadowQueue    int    `help:"Reviews that may wait for the candidate policies; more are not shown to them." default:"1024"`
}

// uploadFlags say whether decisions are uploaded to a collector of OPA's decision logs.
type uploadFlags struct {
	DecisionLogURL       string            `type:"secret" name:"decision-log-url" help:"Collector of OPA's decision logs: recorded decisions are posted to URL/logs, at least once, from the oldest that is kept on." placeholder:"URL"`
	DecisionLogToken     string            `type:"secret" help:"Bearer token for the collector; a variable is the better place for it." placeholder:"TOKEN" xor:"decision-log-token"`
	DecisionLogTokenFile string            `help:"File with the bearer token for the collector." placeholder:"FILE" type:"existingfile" xor:"decision-log-token"`
	DecisionLogMaxBytes  int               `help:"Largest upload, compressed; a single event that is larger goes alone." default:"32768"`
	DecisionLogLabels    map[string]string `help:"Labels of every event, besides app and version." placeholder:"NAME=VALUE"`
}

// collector is the URL as it is used. Errors do not repeat it: it may hold a password.
func (f uploadFlags) collector() (string, error) {
	parsed, err := url.Parse(f.DecisionLogURL)
	switch {
	case err != nil || parsed.Scheme != "http" && parsed.Scheme != "https" || parsed.Host == "":
		return "", errors.New("--decision-log-url is not like https://collector.example.com")
	case parsed.User != nil || parsed.RawQuery != "" || parsed.Fragment != "":
		return "", errors.New("--decision-log-url must have no user, query or fragment; the token is --decision-log-token")
	}
	return strings.TrimRight(parsed.String(), "/"), nil
}

// token gives the token as it is now, nil for none.
func (f uploadFlags) token(reports rereadfile.Reporter) (func() string, error) {
	switch {
	case f.DecisionLogTokenFile != "":
		file, err := rereadfile.OpenText("decision-log-token-file", reports, f.DecisionLogTokenFile)
		if err != nil {
			return nil, fmt.Errorf("--decision-log-token-file: %w", err)
		}
		return file.Get, nil
	case f.DecisionLogToken != "":
		return func() string { return f.DecisionLogToken }, nil
	}
	return nil, nil
}

// check refuses what cannot work.
func (f uploadFlags) check() error {
	if f.DecisionLogMaxBytes <= 0 {
		return errors.New("--decision-log-max-bytes must be more than 0")
	}
	if f.DecisionLogURL == "" {
		return nil
	}
	_, err := f.collector()
	if err == nil {
		_, err = f.token(nil)
	}
	return err
}

// evaluatorFlags say by what policies are evaluated.
type evaluatorFlags struct {
	Evaluator   string  `help:"What evaluates policies: the fast path, or opa alone, which takes ten times as long." enum:"fast-path,opa" default:"fast-path"`
	VerifyShare float64 `help:"Share of the live decisions that OPA makes again, off the requests' path; where it says otherwise the fast path is turned off. 0 for none, 1 for all." default:"0.001"`
}

func (f evaluatorFlags) check() error {
	if !(f.VerifyShare >= 0 && f.VerifyShare <= 1) { // which NaN is not
		return errors.New("--verify-share must be from 0 to 1")
	}
	return nil
}
