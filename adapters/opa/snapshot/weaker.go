package snapshot

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/molecule-ai/gatehouse/adapters/opa/check"
	"github.com/molecule-ai/gatehouse/server/admission"
)

// WeakerThan lists how these policies hold less than others: hooks and codes that are gone, codes that are enforced less,
// that mark nothing any more, and required secrets, refused values and masks that are gone.
func (s *Snapshot) WeakerThan(base *Snapshot) []admission.Weakness {
	var found []admission.Weakness
	hooksOf := make(map[admission.Weakness][]string)
	for _, hook := range base.Hooks() {
		if !s.HasHook(hook) {
			found = append(found, admission.Weakness{How: "hook " + hook + " is gone"})
			continue
		}
		now := s.enforced(hook)
		for code, before := range base.enforced(hook) {
			if !s.codes[code] {
				continue
			}
			weakness := admission.Weakness{Code: code, How: fmt.Sprintf("is %s, not %s", now[code], before)}
			if now[code] == "" {
				weakness.How = "is asked for no more"
			}
			if strength(now[code]) < strength(before) {
				hooksOf[weakness] = append(hooksOf[weakness], hook)
			}
		}
	}
	for weakness, hooks := range hooksOf {
		weakness.How += " (hook " + strings.Join(hooks, ", ") + ")"
		found = append(found, weakness)
	}
	for code := range base.codes {
		switch {
		case !s.codes[code]:
			found = append(found, admission.Weakness{Code: code, How: "is gone"})
		case base.marks(code) && !s.marks(code):
			found = append(found, admission.Weakness{Code: code, How: "marks nothing failed"})
		}
	}
	found = append(found, s.dataWeakerThan(base)...)
	found = append(found, admitsMore(base.loaded.Data, s.loaded.Data, "data")...)
	slices.SortFunc(found, func(a, b admission.Weakness) int {
		return cmp.Or(cmp.Compare(a.Code, b.Code), cmp.Compare(a.How, b.How))
	})
	return found
}

// strength orders enforcements. No enforcement is the weakest.
func strength(of admission.Enforcement) int {
	return 1 + slices.Index([]admission.Enforcement{admission.Audit, admission.Warn, admission.Deny}, of)
}

// enforced is the strongest enforcement of each code in a hook.
func (s *Snapshot) enforced(hook string) map[string]admission.Enforcement {
	strongest := make(map[string]admission.Enforcement)
	for _, set := range check.Sets {
		for _, rule := range s.rulesOf(hook, set) {
			does := cmp.Or(s.override[rule.Code], admission.Enforcement(set))
			if strength(does) > strength(strongest[rule.Code]) {
				strongest[rule.Code] = does
			}
		}
	}
	return strongest
}

func (s *Snapshot) marks(code string) bool {
	return slices.ContainsFunc(s.rules, func(rule admission.Rule) bool { return rule.Code == code && rule.MarkFailed })
}

func (s *Snapshot) dataWeakerThan(base *Snapshot) []admission.Weakness {
	var found []admission.Weakness
	before, now := make(map[string][]string), make(map[string][]string)
	restricting(base.loaded.Data, "data", false, before)
	restricting(s.loaded.Data, "data", false, now)
	for _, at := range slices.Sorted(maps.Keys(before)) {
		gone := slices.DeleteFunc(before[at], func(value string) bool { return slices.Contains(now[at], value) })
		if len(gone) == 0 {
			continue
		}
		weakness := admission.Weakness{How: at + " has no longer " + strings.Join(gone, ", ")}
		if at == "data.required_secrets.platform" {
			weakness.Code = IdentityGate
		}
		found = append(found, weakness)
	}
	if base.mask.HasRule() && !s.mask.HasRule() {
		found = append(found, admission.Weakness{How: "the rule mask of system.log is gone"})
	}
	return found
}

// restricting collects the lists of texts that restrict: the masks, and those at or below a name that begins with required_,
// refused_ or system_.
func restricting(value any, at string, restricts bool, into map[string][]string) {
	switch value := value.(type) {
	case map[string]any:
		for name, below := range value {
			isOne := isRestricting(name) || at == "data" && name == "mask"
			restricting(below, at+"."+name, restricts || isOne, into)
		}
	case []any:
		for _, element := range value {
			if text, isText := element.(string); isText && restricts {
				into[at] = append(into[at], text)
			}
		}
	}
}

func isRestricting(name string) bool {
	return strings.HasPrefix(name, "required_") || strings.HasPrefix(name, "refused_") || strings.HasPrefix(name, "system_")
}

// admitsMore compares the other values of base: lists of what is admitted, greatest and least numbers, and switches. Where the
// name does not tell which value is stricter, any change is listed.
func admitsMore(base, now any, at string) []admission.Weakness {
	var found []admission.Weakness
	add := func(format string, args ...any) {
		found = append(found, admission.Weakness{How: at + " " + fmt.Sprintf(format, args...)})
	}
	switch base := base.(type) {
	case map[string]any:
		members, _ := now.(map[string]any)
		for _, name := range slices.Sorted(maps.Keys(base)) {
			if isRestricting(name) || at == "data" && slices.Contains(ownData, name) {
				continue
			}
			found = append(found, admitsMore(base[name], members[name], at+"."+name)...)
		}
	case []any:
		for _, element := range asList(now) {
			if !slices.Contains(base, element) {
				add("admits %v too", element)
			}
		}
	default:
		if now == base || tightens(at, base, now) {
			return nil
		}
		add("is %v, not %v", now, base)
	}
	return found
}

// tightens says whether a number was changed in the direction that admits less.
func tightens(at string, base, now any) bool {
	before, isNumber := number(base)
	after, isStill := number(now)
	name := at[strings.LastIndex(at, ".")+1:]
	return isNumber && isStill && (strings.HasPrefix(name, "max") && after < before || strings.HasPrefix(name, "min") && after > before)
}

func number(value any) (float64, bool) {
	text, isNumber := value.(json.Number)
	if !isNumber {
		return 0, false
	}
	read, err := text.Float64()
	return read, err == nil
}

func asList(value any) []any {
	list, _ := value.([]any)
	return list
}
