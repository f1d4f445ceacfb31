package author

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/molecule-ai/gatehouse/adapters/opa/sources"
	"github.com/molecule-ai/gatehouse/cmd/gatehouse/cli"
	"github.com/molecule-ai/gatehouse/cmd/gatehouse/flags"
	"github.com/molecule-ai/gatehouse/server/admission"
	"github.com/molecule-ai/gatehouse/server/httpapi/resources"
	"github.com/molecule-ai/gatehouse/server/shadow"
)

// policiesDiffCommand reads the database itself: it sees what all servers found, and works while none runs.
type policiesDiffCommand struct {
	flags.Database
	flags.PolicySource
	ShadowPolicies string `help:"Where the candidate comes from, as serve has it: how it holds less than --policies (by default the shipped ones) is listed too." placeholder:"SOURCE"`
	Live           string `env:"-" help:"Revision of the live policies; with --candidate. Without, the two that were compared last." placeholder:"REVISION"`
	Candidate      string `env:"-" help:"Revision of the candidate policies." placeholder:"REVISION"`
	Examples       int    `env:"-" help:"How many examples of each flip." default:"3"`
	cli.Form
}

// Run prints what came of a candidate that ran beside the live policies.
func (c *policiesDiffCommand) Run(ctx context.Context, to cli.Streams) error {
	if (c.Live == "") != (c.Candidate == "") {
		return errors.New("--live and --candidate go together")
	}
	if c.Examples < 0 {
		return errors.New("--examples must not be negative")
	}
	pair := shadow.Pair{Live: c.Live, Candidate: c.Candidate}
	var summary shadow.Summary
	err := c.WithStore(ctx, func(store *flags.OpenStore) (err error) {
		summary, err = store.ShadowSummary(ctx, pair, c.Examples)
		return err
	})
	if err != nil {
		return err
	}
	weaker, err := c.weaker(ctx, to)
	if err != nil {
		return err
	}
	return c.Write(to.Out, DiffAnswer{summary, weaker}, func(w io.Writer) error {
		err := writeShadowSummary(w, summary)
		printNotes(w, nil, "the candidate is weaker than what is live:", weaker)
		return err
	})
}

// DiffAnswer is what diff prints as JSON.
type DiffAnswer struct {
	shadow.Summary
	Weaker []admission.Weakness `json:"weaker,omitempty"` // with --shadow-policies
}

// weaker lists how the candidate holds less than the live policies. Both are read where they come from: the database has
// only their revisions.
func (c *policiesDiffCommand) weaker(ctx context.Context, to cli.Streams) ([]admission.Weakness, error) {
	if c.ShadowPolicies == "" {
		return nil, nil
	}
	from := c.PolicySource
	from.Policies = c.ShadowPolicies
	live, err := c.Load(ctx, to)
	if err != nil {
		return nil, err
	}
	candidate, err := from.Load(ctx, to)
	if err != nil {
		return nil, err
	}
	return candidate.WeakerThan(live), nil
}

func writeShadowSummary(w io.Writer, s shadow.Summary) error {
	if s.Updated.IsZero() {
		_, err := fmt.Fprintln(w, "nothing was compared")
		return err
	}
	_, _ = fmt.Fprintf(w, "candidate %s beside %s, as of %s\n", s.Candidate, s.Live, s.Updated.Format(time.RFC3339))
	_, _ = fmt.Fprintf(w, "%d evaluated, %d diverged, %d failed; %d dropped\n", s.Evaluated, s.Diverged, s.Failed, s.Dropped)
	if len(s.Flips) == 0 {
		_, err := fmt.Fprintln(w, "no divergence is stored")
		return err
	}
	return cli.WriteFlips(w, s.Flips, "live")
}

// policiesPromoteCommand talks to the servers: each has its own live policies, which are not in the database.
type policiesPromoteCommand struct {
	URL      []string `env:"-" name:"url" help:"Servers to tell; every replica has to be." default:"http://127.0.0.1:8181"`
	Token    string   `type:"secret" help:"Token of an author; a variable is the better place for it." placeholder:"TOKEN"`
	Revision string   `env:"-" help:"The candidate that is meant, as policies diff shows it; a server that has another refuses. Without it, whichever there is." placeholder:"REVISION"`
}

// Run makes the candidate of each server live. It tells all of them, and fails if one refused.
func (c *policiesPromoteCommand) Run(ctx context.Context, to cli.Streams) error {
	var failed error
	for _, url := range c.URL {
		promotion, err := c.promote(ctx, url)
		if err != nil {
			failed = errors.Join(failed, fmt.Errorf("%s: %w", sources.Shown(url), err))
			continue
		}
		_, _ = fmt.Fprintf(to.Out, "%s: %s is live in place of %s\n", sources.Shown(url), promotion.Revision, promotion.Previous)
	}
	if failed != nil {
		return failed
	}
	_, err := fmt.Fprintln(to.Out, "change the source of the live policies too: the next start reads it")
	return err
}

const (
	promoteTimeout = 10 * time.Second
	maxAnswer      = 1 << 20
)

func (c *policiesPromoteCommand) promote(ctx context.Context, url string) (resources.Promotion, error) {
	body, err := json.Marshal(map[string]string{"revision": c.Revision})
	if err != nil {
		return resources.Promotion{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, promoteTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, strings.TrimSuffix(url, "/")+"/v1/policies/promote", bytes.NewReader(body))
	if err != nil {
		return resources.Promotion{}, err
	}
	request.Header.Set("Content-Type", "application/json")
	if c.Token != "" {
		request.Header.Set("Authorization", "Bearer "+c.Token)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return resources.Promotion{}, err
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return resources.Promotion{}, err
	}
	if response.StatusCode != http.StatusOK {
		var problem struct{ Code, Detail string }
		err = json.Unmarshal(text, &problem, json.MatchCaseInsensitiveNames(true))
		if err != nil || problem.Code == "" {
			return resources.Promotion{}, fmt.Errorf("the server answers %s", response.Status)
		}
		return resources.Promotion{}, fmt.Errorf("%s: %s", problem.Code, problem.Detail)
	}
	var promotion resources.Promotion
	err = json.Unmarshal(text, &promotion)
	return promotion, err
}
