package author

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/molecule-ai/gatehouse/adapters/opa/explain"
	"github.com/molecule-ai/gatehouse/adapters/opa/snapshot"
	"github.com/molecule-ai/gatehouse/cmd/gatehouse/cli"
	"github.com/molecule-ai/gatehouse/cmd/gatehouse/flags"
	"github.com/molecule-ai/gatehouse/server/admission"
	"github.com/molecule-ai/gatehouse/server/admission/decode"
)

type Eval struct {
	flags.PolicySource
	Review    string `arg:"" help:"File with the body of POST /v1/admission/{hook}; - for standard input." default:"-"`
	Hook      string `env:"-" help:"Hook that is asked." default:"register"`
	Facts     string `env:"-" help:"File with the facts of the workspace: {exists, workspace, secret_keys, global_secret_keys}; without facts nothing is stored." placeholder:"FILE" xor:"facts"`
	Workspace string `env:"-" help:"Take the facts of this workspace from the database at --database-url, which is only read." placeholder:"ID" xor:"facts"`
	SaaS      bool   `name:"saas" help:"Decide as in a SaaS deployment."`
	Explain   bool   `env:"-" help:"Say why each rule of the hook did not fire."`
	Trace     string `env:"-" help:"Print what the engine did in this rule." placeholder:"RULE"`
	Output    string `help:"Form of the answer." enum:"text,json" default:"text"`

	DatabaseURL    string `type:"secret" name:"database-url" help:"postgres://… of the registry's database, or sqlite:PATH of a file of Gatehouse's own." default:"sqlite:data/gatehouse.db"`
	FactsQueryFile string `help:"SQL that looks up the facts, instead of Gatehouse's own." placeholder:"FILE"`
}

// Run decides one review. It exits with 0 for an allow and for a deny: both are answers.
func (c *Eval) Run(ctx context.Context, to cli.Streams) error {
	input, err := c.input(ctx, to)
	if err != nil {
		return err
	}
	rules, err := c.Load(ctx, to)
	if err != nil {
		return err
	}
	if !rules.HasHook(c.Hook) {
		return fmt.Errorf("no policy defines the hook %s", c.Hook)
	}
	if c.Trace != "" && !hasRule(rules, c.Trace) {
		return fmt.Errorf("--trace: no rule is called %s; gatehouse policies list has their names", c.Trace)
	}
	answer, err := c.decide(ctx, rules, input)
	if err != nil {
		return err
	}
	if c.Output == "json" {
		return c.writeJSON(to.Out, answer, input.Facts)
	}
	return c.write(to.Out, answer, input.Facts, rules)
}

func hasRule(snapshot *snapshot.Snapshot, name string) bool {
	return slices.ContainsFunc(snapshot.Rules(), func(rule admission.Rule) bool { return rule.Name == name })
}

// decide explains only where that is asked for. Otherwise it evaluates exactly as a server does.
func (c *Eval) decide(ctx context.Context, snapshot *snapshot.Snapshot, input admission.Input) (explain.Explanation, error) {
	if c.Explain || c.Trace != "" {
		return explain.Review(ctx, snapshot, input, time.Now())
	}
	verdict, err := snapshot.Checked().Evaluate(ctx, input, time.Now())
	return explain.Explanation{Explanation: admission.Explanation{Verdict: verdict}}, err
}

func (c *Eval) input(ctx context.Context, to cli.Streams) (admission.Input, error) {
	body, err := readFileOr(c.Review, to.In)
	if err != nil {
		return admission.Input{}, fmt.Errorf("review: %w", err)
	}
	review, err := decode.Review(c.Hook, body, decode.DefaultMaxDepth)
	if err != nil {
		return admission.Input{}, fmt.Errorf("review: %w", err)
	}
	facts, err := c.facts(ctx, review)
	if err != nil {
		return admission.Input{}, fmt.Errorf("facts: %w", err)
	}
	return admission.NewInput(review, facts, admission.Deployment{SaaS: c.SaaS}), nil
}

func (c *Eval) facts(ctx context.Context, review admission.Review) (admission.Facts, error) {
	switch {
	case c.Workspace != "":
		id, err := decode.ParseWorkspaceID(c.Workspace)
		if err != nil {
			return admission.Facts{}, fmt.Errorf("--workspace: %w", err)
		}
		if id != review.WorkspaceID {
			return admission.Facts{}, fmt.Errorf("--workspace is %s, and the review is of workspace %s", id, review.WorkspaceID)
		}
		return c.storedFacts(ctx, id)
	case c.Facts == "":
		return admission.NewFacts(false, nil, nil, nil)
	}
	text, err := os.ReadFile(c.Facts)
	if err != nil {
		return admission.Facts{}, err
	}
	var sent admission.Facts
	err = decode.Strict(text, &sent, decode.DefaultMaxDepth)
	if err != nil {
		return admission.Facts{}, err
	}
	return admission.NewFacts(sent.Exists, sent.Workspace, sent.SecretKeys, sent.GlobalSecretKeys)
}

// factsTimeout is how long a person at a terminal waits.
const factsTimeout = 10 * time.Second

// storedFacts reads the store that serves and changes nothing in it.
func (c *Eval) storedFacts(ctx context.Context, id uuid.UUID) (facts admission.Facts, err error) {
	ctx, cancel := context.WithTimeout(ctx, factsTimeout)
	defer cancel()
	query, err := flags.Facts{FactsQueryFile: c.FactsQueryFile}.FactsQuery()
	if err != nil {
		return admission.Facts{}, err
	}
	store, err := flags.Database{DatabaseURL: c.DatabaseURL, DatabaseMaxConns: 1}.Open(ctx, flags.StoreOptions{FactsQuery: query})
	if err != nil {
		return admission.Facts{}, err
	}
	facts, err = store.Facts(ctx, id)
	return facts, errors.Join(err, store.Close())
}

func readFileOr(name string, standardInput io.Reader) ([]byte, error) {
	if name == "-" {
		return io.ReadAll(standardInput)
	}
	return os.ReadFile(name)
}

// EvalAnswer is what eval prints as JSON.
type EvalAnswer struct {
	Allowed        bool                        `json:"allowed"`
	MarksFailed    bool                        `json:"marks_failed"`
	PolicyRevision string                      `json:"policy_revision"`
	Violations     []admission.Violation       `json:"violations"`
	Rules          []admission.RuleExplanation `json:"rules,omitempty"`
	Trace          []string                    `env:"-" json:"trace,omitempty"`
}

func (c *Eval) writeJSON(w io.Writer, explained explain.Explanation, facts admission.Facts) error {
	verdict := explained.Verdict
	answer := EvalAnswer{
		Allowed: verdict.Allowed(), MarksFailed: facts.WouldMark(verdict),
		PolicyRevision: verdict.Revision, Violations: verdict.Violations,
	}
	if answer.Violations == nil {
		answer.Violations = []admission.Violation{}
	}
	if c.Explain {
		answer.Rules = explained.Rules
	}
	if c.Trace != "" {
		var trace strings.Builder
		explained.WriteTrace(&trace, c.Trace, false)
		answer.Trace = strings.Split(strings.TrimRight(trace.String(), "\n"), "\n")
	}
	return cli.PrintJSON(w, answer)
}

func (c *Eval) write(w io.Writer, explained explain.Explanation, facts admission.Facts, snapshot *snapshot.Snapshot) error {
	writeVerdict(w, explained.Verdict, snapshot)
	if facts.WouldMark(explained.Verdict) {
		_, _ = fmt.Fprintln(w, "the stored workspace would be marked failed")
	}
	if c.Explain {
		writeExplanation(w, explained)
	}
	if c.Trace != "" {
		_, _ = fmt.Fprintf(w, "trace of %s:\n", c.Trace)
		explained.WriteTrace(w, c.Trace, false)
	}
	_, err := fmt.Fprintf(w, "policies: %s, %s\n", snapshot.Source(), snapshot.Revision())
	return err
}

func writeVerdict(w io.Writer, verdict admission.Verdict, snapshot *snapshot.Snapshot) {
	places := make(map[string]string)
	for _, rule := range snapshot.Rules() {
		places[rule.Name] = fmt.Sprintf("%s:%d", rule.File, rule.Row)
	}
	if denying := verdict.Denying(); denying != nil {
		_, _ = fmt.Fprintf(w, "denied: %d %s: %s\n", denying.Status, denying.Code, cmp.Or(denying.Answer, denying.Message))
	} else {
		_, _ = fmt.Fprintln(w, "allowed")
	}
	for _, v := range verdict.Violations {
		_, _ = fmt.Fprintf(w, "  %-5s %-8s %s: %s\n", v.Enforcement, v.Severity, v.Code, v.Reason)
		_, _ = fmt.Fprintf(w, "        %s\n", v.Message)
		_, _ = fmt.Fprintf(w, "        rule %s, %s\n", v.Rule, places[v.Rule])
	}
}

// writeExplanation tells of every rule that did not fire where it stopped.
func writeExplanation(w io.Writer, explained explain.Explanation) {
	fired := 0
	for _, one := range explained.Rules {
		if one.Fired {
			fired++
		}
	}
	_, _ = fmt.Fprintf(w, "%d of %d rules fired; the others did not:\n", fired, len(explained.Rules))
	for _, one := range explained.Rules {
		if one.Fired {
			continue
		}
		_, _ = fmt.Fprintf(w, "  %s (%s)\n", one.Rule.Name, one.Rule.Code)
		writeReasons(w, one.Why, "    ")
	}
}

func writeReasons(w io.Writer, reasons []admission.Reason, indent string) {
	for _, reason := range reasons {
		_, _ = fmt.Fprintf(w, "%s%s:%d: `%s` %s", indent, reason.File, reason.Row, reason.Expression, reason.Outcome)
		if len(reason.Values) > 0 {
			_, _ = fmt.Fprintf(w, ": %s", strings.Join(reason.Values, ", "))
		}
		_, _ = fmt.Fprintln(w)
		writeReasons(w, reason.Because, indent+"  ")
	}
}
