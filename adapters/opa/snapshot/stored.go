package snapshot

import (
	"context"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/molecule-ai/gatehouse/adapters/opa/check"
	"github.com/molecule-ai/gatehouse/server/admission"
	"github.com/molecule-ai/gatehouse/server/audit"
)

// requestPointer is the place of the request in the input.
const requestPointer = admission.InputPointer + "/request"

// OfStored gives s as it judges a stored workspace, which sends no request: of one, only these members are known. A rule
// that reads others never holds in it, for a member that nobody sent says nothing. Rules are taken one by one: of two
// that add to one set, one may be judged and the other not. It gives the known members that the hook reads, too, and
// what is not judged.
func (s *Snapshot) OfStored(ctx context.Context, hook string, known []string) (_ *Snapshot, read []string, _ []audit.NotJudged, _ error) {
	for _, member := range known {
		if s.Reads(hook, requestPointer+"/"+url.PathEscape(member)) {
			read = append(read, member)
		}
	}
	contents := s.loaded
	contents.stored = &storedOnly{hook: hook, known: known}
	judging, err := contents.Unchecked(ctx, s.schema)
	if err != nil {
		return nil, nil, nil, fmt.Errorf("leaving out what is not judged: %w", err)
	}
	judging.origin, judging.never = s, s.never
	judging.byOPA.Store(s.byOPA.Load())
	return judging, read, judging.compiled.notJudged, nil
}

// storedOnly says of which hook rules are left out, unless they read only these members of the request.
type storedOnly struct {
	hook  string
	known []string
}

// leaveOut makes rules never hold.
func (o *storedOnly) leaveOut(compiler *ast.Compiler, hooks []check.Hook, rules []admission.Rule, numbers map[*ast.Rule]int) []audit.NotJudged {
	var out []audit.NotJudged
	for _, h := range hooks {
		if h.Name != o.hook {
			continue
		}
		for _, set := range h.Sets {
			for _, leaf := range leavesOf(compiler, h, set, numbers) {
				unknown := o.unknown(check.ReadsOfRules(compiler, []*ast.Rule{leaf.rule}))
				if len(unknown) == 0 {
					continue
				}
				never := ast.NewExpr(ast.BooleanTerm(false))
				never.Location = leaf.rule.Location
				leaf.rule.Body = ast.NewBody(append([]*ast.Expr{never}, leaf.rule.Body...)...)
				if leaf.number != untagged {
					rule := rules[leaf.number]
					out = append(out, audit.NotJudged{Rule: rule.Name, Code: rule.Code, Reads: unknown})
				}
			}
		}
	}
	return joined(out)
}

// unknown are the members of the request among reads that are not known, as a rule would write them.
func (o *storedOnly) unknown(reads check.Reads) []string {
	var unknown []string
	for _, pointer := range reads {
		below, isBelow := strings.CutPrefix(pointer, requestPointer+"/")
		if !isBelow {
			if admission.Overlaps(pointer, requestPointer) { // all of it
				unknown = append(unknown, "input.request")
			}
			continue
		}
		escaped, _, _ := strings.Cut(below, "/")
		member, err := url.PathUnescape(escaped)
		if err != nil || !slices.Contains(o.known, member) {
			unknown = append(unknown, "input.request."+escaped)
		}
	}
	slices.Sort(unknown)
	return slices.Compact(unknown)
}

// joined has an entry for each rule and code, in their order.
func joined(all []audit.NotJudged) []audit.NotJudged {
	of := make(map[string]*audit.NotJudged)
	for i, one := range all {
		name := one.Rule + "\x00" + one.Code
		if of[name] == nil {
			of[name] = &all[i]
			continue
		}
		reads := slices.Concat(of[name].Reads, one.Reads)
		slices.Sort(reads)
		of[name].Reads = slices.Compact(reads)
	}
	var once []audit.NotJudged
	for _, name := range slices.Sorted(maps.Keys(of)) {
		once = append(once, *of[name])
	}
	return once
}
