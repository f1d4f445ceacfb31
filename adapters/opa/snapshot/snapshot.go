// Package snapshot compiles policies with their data and checks them as a whole. The result, a Snapshot, never changes and
// decides reviews: by the fast path, and by OPA where that cannot tell. Which snapshot is live is for package opa.
package snapshot

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync/atomic"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/storage"

	"github.com/molecule-ai/gatehouse/adapters/opa/check"
	"github.com/molecule-ai/gatehouse/adapters/opa/fastpath"
	"github.com/molecule-ai/gatehouse/adapters/opa/mask"
	"github.com/molecule-ai/gatehouse/server/admission"
	"github.com/molecule-ai/gatehouse/server/ledger"
)

// Snapshot is one checked and compiled set of policies and data. It is safe for concurrent use. Its verdicts never change. The
// evaluator may: the fast path can be turned off.
type Snapshot struct {
	rules    []admission.Rule
	override map[string]admission.Enforcement
	codes    map[string]bool
	// allowWeaker are the codes that the author weakens on purpose.
	allowWeaker map[string]bool
	hooks       map[string]*hook
	reads       map[string]check.Reads
	mask        mask.Mask
	compiled    *compilation // for explanations
	remarks     []string
	byOPA       atomic.Bool // the fast path is off
	never       bool        // it is off for good, because an operator says so
	origin      *Snapshot   // that OfStored made this one from; nil for others

	loaded Contents // for OfStored
	schema []byte
}

// New reads and checks source, and evaluates every hook once.
func New(ctx context.Context, source Source, schema []byte) (*Snapshot, error) {
	contents, err := source.Read()
	if err != nil {
		return nil, err
	}
	return contents.Snapshot(ctx, schema)
}

// Snapshot checks policies that are to decide reviews. It does what Unchecked does, and also refuses data that is missing or
// misspelt, and policies that weaken IdentityGate.
func (c Contents) Snapshot(ctx context.Context, schema []byte) (*Snapshot, error) {
	snapshot, err := c.Unchecked(ctx, schema)
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

// Unchecked compiles and rehearses policies that need not be fit to decide reviews, like those whose data a test case changes.
func (c Contents) Unchecked(ctx context.Context, schema []byte) (*Snapshot, error) {
	compiled, err := compile(ctx, c, schema)
	if err != nil {
		return nil, err
	}
	snapshot := &Snapshot{
		loaded: c, schema: schema, rules: compiled.rules, codes: codesOf(compiled.rules), compiled: compiled,
		reads: make(map[string]check.Reads, len(compiled.hooks)), remarks: compiled.remarks,
	}
	for _, name := range c.Files.Aside {
		snapshot.remarks = append(snapshot.remarks, name+" is left aside: it is neither rules nor data nor tests")
	}
	snapshot.override, err = readEnforcement(c.Data, snapshot.codes)
	if err != nil {
		return nil, err
	}
	snapshot.allowWeaker, err = readAllowWeaker(c.Data, snapshot.codes)
	if err != nil {
		return nil, err
	}
	snapshot.hooks, err = newHooks(ctx, compiled)
	if err != nil {
		return nil, err
	}
	for _, h := range compiled.hooks {
		err = snapshot.rehearse(ctx, h.Name)
		if err != nil {
			return nil, fmt.Errorf("hook %s: %w", h.Name, err)
		}
		snapshot.reads[h.Name] = check.ReadsOf(compiled.compiler, h)
	}
	snapshot.mask, err = mask.New(ctx, c.Modules, c.Data, compiled.data, snapshot.reads)
	if err != nil {
		return nil, err
	}
	return snapshot, nil
}

// rehearsalTimeout is far beyond any policy that could answer a live request in time.
const rehearsalTimeout = 5 * time.Second

// rehearse evaluates a hook once on the least input, so that policies that cannot give any verdict are refused before they are
// live.
func (s *Snapshot) rehearse(ctx context.Context, hook string) error {
	input, err := Rehearsal(hook)
	if err != nil {
		return err
	}
	limited, cancel := context.WithTimeout(ctx, rehearsalTimeout)
	defer cancel()
	_, err = s.Checked().Evaluate(limited, input, time.Unix(0, 0))
	return err
}

// Rehearsal is the least input of a hook.
func Rehearsal(hook string) (admission.Input, error) {
	facts, err := admission.NewFacts(false, nil, nil, nil)
	return admission.Input{Hook: hook, CallerProof: admission.Token, Request: []byte("{}"), Facts: facts}, err
}

// Revision identifies the policies and data by their content.
func (s *Snapshot) Revision() string { return s.loaded.Revision }

// Source says where they came from.
func (s *Snapshot) Source() string { return s.loaded.Source }

// Bundle is what the bundle that they came in says of itself; nil when they came in none. Callers must not
// change it.
func (s *Snapshot) Bundle() *ledger.Bundle { return s.loaded.Bundle }

// Rules is the catalogue, in order of file and row. Callers must not change it.
func (s *Snapshot) Rules() []admission.Rule { return s.rules }

// Remark adds to the remarks, before the snapshot is shared.
func (s *Snapshot) Remark(remark string) { s.remarks = append(s.remarks, remark) }

// Remarks are what an author should know of policies although they passed all checks. Callers must not change them.
func (s *Snapshot) Remarks() []string { return s.remarks }

// HasHook says whether the policies define the hook.
func (s *Snapshot) HasHook(hook string) bool {
	_, found := s.hooks[hook]
	return found
}

// HasCode says whether a rule of the policies has the code.
func (s *Snapshot) HasCode(code string) bool { return s.codes[code] }

// Codes are those that its rules declare, sorted.
func (s *Snapshot) Codes() []string { return slices.Sorted(maps.Keys(s.codes)) }

// RulesOf are the rules of the catalogue that a hook's sets depend on.
func (s *Snapshot) RulesOf(hook string) []admission.Rule { return s.rulesOf(hook, check.Sets...) }

// rulesOf are the rules of the catalogue that some of a hook's sets depend on.
func (s *Snapshot) rulesOf(hook string, sets ...string) []admission.Rule {
	var asked []*ast.Rule
	for _, set := range sets {
		asked = append(asked, s.compiled.compiler.GetRulesExact(check.SetRef(hook, set))...)
	}
	reached := check.Reached(s.compiled.compiler, asked)
	numbers := make(map[int]bool, len(s.rules))
	for rule, number := range s.compiled.numbers {
		numbers[number] = numbers[number] || reached[rule]
	}
	var rules []admission.Rule
	for number, rule := range s.rules {
		if numbers[number] {
			rules = append(rules, rule)
		}
	}
	return rules
}

// Bodies are the bodies of a rule of the catalogue, in order of file and row.
func (s *Snapshot) Bodies(rule admission.Rule) []*ast.Rule {
	var bodies []*ast.Rule
	for body, number := range s.compiled.numbers {
		if s.rules[number] == rule {
			bodies = append(bodies, body)
		}
	}
	slices.SortFunc(bodies, func(a, b *ast.Rule) int { return a.Location.Compare(b.Location) })
	return bodies
}

// HooksOf names the hooks that a rule of the catalogue guards.
func (s *Snapshot) HooksOf(rule admission.Rule) []string {
	var hooks []string
	for _, hook := range s.Hooks() {
		if slices.Contains(s.RulesOf(hook), rule) {
			hooks = append(hooks, hook)
		}
	}
	return hooks
}

// ReadPointers are the places of the input that a hook's verdict depends on, in the form of Redaction. Callers must
// not change them.
func (s *Snapshot) ReadPointers(hook string) []string { return s.reads[hook] }

// Reads says whether a hook's verdict can depend on what is at a pointer, below it or above it.
func (s *Snapshot) Reads(hook, pointer string) bool { return s.reads[hook].Overlap(pointer) }

// Mask gives an input as the record of its decision may keep it.
func (s *Snapshot) Mask(ctx context.Context, d admission.Decision, in admission.Input) (admission.RecordedInput, error) {
	kept, err := s.mask.Record(ctx, d, in)
	if err != nil {
		kept, err = admission.RecordedInput{}, fmt.Errorf("masking the input: %w", err)
	}
	kept.Revision = s.loaded.Revision
	return kept, err
}

// Compiler has the rules as they were compiled. Callers must not change it.
func (s *Snapshot) Compiler() *ast.Compiler { return s.compiled.compiler }

// FastPath is what a hook's reviews ask first.
func (s *Snapshot) FastPath(hook string) *fastpath.Evaluator { return s.hooks[hook].fast }

// DataAt is the value of the data that a reference names; nil if there is none.
func (s *Snapshot) DataAt(ref ast.Ref) ast.Value {
	path, err := storage.NewPathForRef(ref)
	if err != nil {
		return nil
	}
	read, err := storage.ReadOne(context.Background(), s.compiled.store, path)
	if err != nil {
		return nil
	}
	value, err := ast.InterfaceToValue(read)
	if err != nil {
		return nil
	}
	return value
}

func codesOf(rules []admission.Rule) map[string]bool {
	codes := make(map[string]bool, len(rules))
	for _, rule := range rules {
		codes[rule.Code] = true
	}
	return codes
}

// Hooks are the names of the hooks, sorted.
func (s *Snapshot) Hooks() []string { return slices.Sorted(maps.Keys(s.hooks)) }

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
	for _, code := range slices.Sorted(maps.Keys(entries)) {
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
