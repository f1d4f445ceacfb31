package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"gatehouse/adapters/opa"
	"gatehouse/server/admission"
)

type evalCommand struct {
	policyFlags
	Review string `arg:"" help:"File with the body of POST /v1/admission/{hook}; - for standard input." default:"-"`
	Hook   string `help:"Hook that is asked." default:"register"`
	Facts  string `help:"File with the facts of the workspace: {exists, workspace, secret_keys, global_secret_keys}; without it nothing is stored." placeholder:"FILE"`
	SaaS   bool   `name:"saas" help:"Decide as in a SaaS deployment."`
	Output string `help:"Form of the answer." enum:"text,json" default:"text"`
}

// Run decides one review. It exits with 0 for an allow and for a deny: both are answers.
func (c *evalCommand) Run(ctx context.Context, to streams) error {
	input, err := c.input(to)
	if err != nil {
		return err
	}
	schema, err := inputSchema()
	if err != nil {
		return err
	}
	snapshot, err := opa.NewSnapshot(ctx, c.source(), schema)
	if err != nil {
		printPolicyErrors(to.err, err)
		return errSaid
	}
	if !snapshot.HasHook(c.Hook) {
		return fmt.Errorf("no policy defines the hook %s", c.Hook)
	}
	verdict, err := snapshot.Evaluate(ctx, input, time.Now())
	if err != nil {
		return err
	}
	if c.Output == "json" {
		return writeVerdictJSON(to.out, verdict)
	}
	return writeVerdict(to.out, verdict, snapshot)
}

func (c *evalCommand) input(to streams) (admission.Input, error) {
	body, err := readFileOr(c.Review, to.in)
	if err != nil {
		return admission.Input{}, fmt.Errorf("review: %w", err)
	}
	review, err := admission.DecodeReview(c.Hook, body, admission.DefaultMaxDepth)
	if err != nil {
		return admission.Input{}, fmt.Errorf("review: %w", err)
	}
	facts, err := c.facts()
	if err != nil {
		return admission.Input{}, fmt.Errorf("facts: %w", err)
	}
	return admission.NewInput(review, facts, admission.Deployment{SaaS: c.SaaS}), nil
}

func (c *evalCommand) facts() (admission.Facts, error) {
	if c.Facts == "" {
		return admission.NewFacts(false, nil, nil, nil)
	}
	text, err := os.ReadFile(c.Facts)
	if err != nil {
		return admission.Facts{}, err
	}
	var sent admission.Facts
	err = admission.DecodeStrict(text, &sent, admission.DefaultMaxDepth)
	if err != nil {
		return admission.Facts{}, err
	}
	return admission.NewFacts(sent.Exists, sent.Workspace, sent.SecretKeys, sent.GlobalSecretKeys)
}

func readFileOr(name string, standardInput io.Reader) ([]byte, error) {
	if name == "-" {
		return io.ReadAll(standardInput)
	}
	return os.ReadFile(name)
}

func writeVerdictJSON(w io.Writer, verdict admission.Verdict) error {
	violations := verdict.Violations
	if violations == nil {
		violations = []admission.Violation{}
	}
	text, err := json.Marshal(map[string]any{
		"allowed": verdict.Allowed(), "marks_failed": verdict.Marking() != nil,
		"violations": violations, "policy_revision": verdict.Revision,
	}, jsontext.WithIndent("  "), json.Deterministic(true))
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, "%s\n", text)
	return err
}

func writeVerdict(w io.Writer, verdict admission.Verdict, snapshot *opa.Snapshot) error {
	places := make(map[string]string)
	for _, rule := range snapshot.Rules() {
		places[rule.Name] = fmt.Sprintf("%s:%d", rule.File, rule.Row)
	}
	if denying := verdict.Denying(); denying != nil {
		answer := denying.Answer
		if answer == "" {
			answer = denying.Message
		}
		_, _ = fmt.Fprintf(w, "denied: %d %s: %s\n", denying.Status, denying.Code, answer)
	} else {
		_, _ = fmt.Fprintln(w, "allowed")
	}
	for _, v := range verdict.Violations {
		_, _ = fmt.Fprintf(w, "  %-5s %-8s %s: %s\n", v.Enforcement, v.Severity, v.Code, v.Reason)
		_, _ = fmt.Fprintf(w, "        %s\n", v.Message)
		_, _ = fmt.Fprintf(w, "        rule %s, %s\n", v.Rule, places[v.Rule])
	}
	if verdict.Marking() != nil {
		_, _ = fmt.Fprintln(w, "a stored workspace would be marked failed")
	}
	_, err := fmt.Fprintf(w, "policies: %s, %s\n", snapshot.Source(), snapshot.Revision())
	return err
}
