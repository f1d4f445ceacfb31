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

// OfStored gives s as it judges a stored workspace. A stored workspace sends no request, so only the known members of one are
// there. A rule that reads other members never holds, because a member that nobody sent says nothing. Each rule is looked at
// by itself: of two rules of one set, one may be judged and the other not. read are the known members that the hook reads. The
// last result lists the rules that are not judged.
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

// storedOnly says in which hook rules are left out: those that read other members of the request than the known ones.
type storedOnly struct {
	hook  string
	known []string
}

// leaveOut changes rules so that they never hold, and lists them.
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

// unknown are the members of the request among reads that are not known, written as in a rule.
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

// joined has one entry for each rule and code, sorted by them.
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
