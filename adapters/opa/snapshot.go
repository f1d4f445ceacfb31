package opa

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/rego"

	"github.com/molecule-ai/gatehouse/adapters/opa/regoval"
	"github.com/molecule-ai/gatehouse/server/admission"
)

// Snapshot is one checked and compiled set of policies and data. It is safe for concurrent use. Its verdicts never change:
// by which evaluator it comes to them may.
type Snapshot struct {
	source   string
	revision string
	data     map[string]any
	bundle   *BundleInfo
	rules    []admission.Rule
	override map[string]admission.Enforcement
	codes    map[string]bool
	// allowWeaker are the codes that the author weakens on purpose.
	allowWeaker map[string]bool
	live        map[string]*live
	queries     map[string]func() (rego.PreparedEvalQuery, error) // as rules are written, for whoever watches them
	reads       map[string]reads
	masking     masking
	compiled    *compilation // for explanations
	remarks     []string
	byOPA       atomic.Bool // the fast path is off
	never       bool        // and is so for good, because an operator says so
	origin      *Snapshot   // what OfStored made it of; nil for policies as they are

	loaded contents // for OfStored
	schema []byte
}

// NewSnapshot loads and checks source. What passes has been evaluated once for every hook.
func NewSnapshot(ctx context.Context, source Source, schema []byte) (*Snapshot, error) {
	loaded, err := source.load(regoval.Capabilities())
	if err != nil {
		return nil, err
	}
	snapshot, err := newCheckedSnapshot(ctx, source.Name, loaded, schema)
	if err != nil {
		return nil, err
	}
	snapshot.bundle = source.Bundle
	return snapshot, nil
}

// newCheckedSnapshot is newSnapshot of policies that are to decide reviews: their data is there and is read, and they do
// not weaken IdentityGate. Cases change the data and need neither.
func newCheckedSnapshot(ctx context.Context, name string, loaded contents, schema []byte) (*Snapshot, error) {
	snapshot, err := newSnapshot(ctx, name, loaded, schema)
	if err != nil {
		return nil, err
	}
	if missing := snapshot.compiled.data.Missing(); len(missing) > 0 {
		return nil, missing
	}
	misspelt, unread := snapshot.compiled.data.Unread()
	if len(misspelt) > 0 {
		return nil, misspelt
	}
	snapshot.remarks = append(snapshot.remarks, unread...)
	err = snapshot.checkGate(ctx)
	if err != nil {
		return nil, err
	}
	return snapshot, nil
}

func newSnapshot(ctx context.Context, name string, loaded contents, schema []byte) (*Snapshot, error) {
	compiled, err := compile(ctx, loaded, schema)
	if err != nil {
		return nil, err
	}
	snapshot := &Snapshot{
		source: name, revision: loaded.revision, data: loaded.data, rules: compiled.rules, codes: codesOf(compiled.rules),
		queries: make(map[string]func() (rego.PreparedEvalQuery, error), len(compiled.hooks)), compiled: compiled,
		reads: make(map[string]reads, len(compiled.hooks)), loaded: loaded, schema: schema,
	}
	snapshot.remarks = compiled.remarks
	for _, name := range loaded.files.Aside {
		snapshot.remarks = append(snapshot.remarks, name+" is left aside: it is neither rules nor data nor tests")
	}
	snapshot.override, err = readEnforcement(loaded.data, snapshot.codes)
	if err != nil {
		return nil, err
	}
	snapshot.allowWeaker, err = readAllowWeaker(loaded.data, snapshot.codes)
	if err != nil {
		return nil, err
	}
	snapshot.live, err = newLive(ctx, compiled)
	if err != nil {
		return nil, err
	}
	for _, h := range compiled.hooks {
		snapshot.queries[h.name] = sync.OnceValues(func() (rego.PreparedEvalQuery, error) {
			return prepare(context.WithoutCancel(ctx), compiled, h)
		})
		err = snapshot.rehearse(ctx, h.name)
		if err != nil {
			return nil, fmt.Errorf("hook %s: %w", h.name, err)
		}
		snapshot.reads[h.name] = readsOf(compiled.compiler, h)
	}
	snapshot.masking, err = newMasking(ctx, loaded, compiled.data, snapshot.reads)
	if err != nil {
		return nil, err
	}
	return snapshot, nil
}

// prepare makes the query of one hook: an object of its sets. Builtin errors stop the evaluation: in a rule
// that denies, an expression that is undefined because a builtin failed would let the workspace pass.
func prepare(ctx context.Context, from *compilation, h hook) (rego.PreparedEvalQuery, error) {
	items := make([][2]*ast.Term, len(h.sets))
	for i, set := range h.sets {
		items[i] = ast.Item(ast.StringTerm(set), ast.NewTerm(setRef(h.name, set)))
	}
	query := ast.NewBody(ast.NewExpr(ast.ObjectTerm(items...)))
	return rego.New(
		rego.Compiler(from.compiler),
		rego.Store(from.store),
		rego.ParsedQuery(query),
		rego.StrictBuiltinErrors(true),
	).PrepareForEval(ctx)
}

// rehearsalTimeout is far beyond any policy that could answer a live request in time.
const rehearsalTimeout = 5 * time.Second

// rehearse evaluates a hook once on the least of inputs, so that a ruleset that cannot give a verdict at all
// is refused before it is live.
func (s *Snapshot) rehearse(ctx context.Context, hook string) error {
	input, err := rehearsal(hook)
	if err != nil {
		return err
	}
	limited, cancel := context.WithTimeout(ctx, rehearsalTimeout)
	defer cancel()
	_, err = s.Checked().Evaluate(limited, input, time.Unix(0, 0))
	return err
}

func rehearsal(hook string) (admission.Input, error) {
	facts, err := admission.NewFacts(false, nil, nil, nil)
	return admission.Input{Hook: hook, CallerProof: admission.Token, Request: []byte("{}"), Facts: facts}, err
}

// Revision identifies the policies and data by their content.
func (s *Snapshot) Revision() string { return s.revision }

// Source says where they came from.
func (s *Snapshot) Source() string { return s.source }

// Bundle is what the bundle that they came in says of itself; nil when they came in none. Callers must not
// change it.
func (s *Snapshot) Bundle() *BundleInfo { return s.bundle }

// Rules is the catalogue, in order of file and row. Callers must not change it.
func (s *Snapshot) Rules() []admission.Rule { return s.rules }

// Remarks are what an author should know of policies that pass their checks all the same. Callers must not change
// them.
func (s *Snapshot) Remarks() []string { return s.remarks }

// HasHook says whether the policies define the hook.
func (s *Snapshot) HasHook(hook string) bool {
	_, found := s.queries[hook]
	return found
}

// HasCode says whether a rule of the policies has the code.
func (s *Snapshot) HasCode(code string) bool { return s.codes[code] }

// Codes are those that its rules declare, sorted.
func (s *Snapshot) Codes() []string { return sortedKeys(s.codes) }

func codesOf(rules []admission.Rule) map[string]bool {
	codes := make(map[string]bool, len(rules))
	for _, rule := range rules {
		codes[rule.Code] = true
	}
	return codes
}

// Hooks are the names of the hooks, sorted.
func (s *Snapshot) Hooks() []string { return sortedKeys(s.queries) }

// readEnforcement reads data.enforcement: what a code does instead of what its rule says.
func readEnforcement(data map[string]any, codes map[string]bool) (map[string]admission.Enforcement, error) {
	override := make(map[string]admission.Enforcement)
	value, found := data["enforcement"]
	if !found || value == nil {
		return override, nil
	}
	entries, isObject := value.(map[string]any)
	if !isObject {
		return nil, fmt.Errorf("data.enforcement is no object of codes")
	}
	for _, code := range sortedKeys(entries) {
		text, _ := entries[code].(string)
		enforcement := admission.Enforcement(text)
		switch {
		case !codes[code]:
			return nil, fmt.Errorf("data.enforcement.%s: no rule has this code", code)
		case !enforcement.Known():
			return nil, fmt.Errorf("data.enforcement.%s is not deny, warn or audit", code)
		}
		override[code] = enforcement
	}
	return override, nil
}
