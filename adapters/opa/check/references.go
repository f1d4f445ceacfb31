package check

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode"

	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/molecule-ai/gatehouse/internal/suggest"
)

// Data notes which data rules refer to, and which of these are not there. Rego takes a missing name for data that may come
// later. So a rule with a misspelt name never denies.
type Data struct {
	document map[string]any
	own      []string
	read     *place
	missing  []missing
}

// place is a place of the data that rules read.
type place struct {
	all      bool // everything below it, too
	computed bool // rules compute the names: the place is a map, and a name may be missing
	members  map[string]*place
}

// missing is a reference to data that is not there.
type missing struct {
	err     *ast.Error
	in      *place
	nearest string
}

func (p *place) member(name string) *place {
	if p.members == nil {
		p.members = make(map[string]*place)
	}
	if p.members[name] == nil {
		p.members[name] = &place{}
	}
	return p.members[name]
}

// NewData takes the data document. own are the members at its top that the engine reads itself.
func NewData(document map[string]any, own ...string) *Data {
	d := &Data{document: document, own: own, read: &place{}}
	for _, name := range own {
		d.read.member(name).all = true
	}
	return d
}

// Refer notes the references of all rules in the modules for which meant says yes. It gives an error for each reference to a
// rule that does not exist.
func (d *Data) Refer(compiler *ast.Compiler, meant func(*ast.Module) bool) ast.Errors {
	var undefined ast.Errors
	for _, name := range slices.Sorted(maps.Keys(compiler.Modules)) {
		if !meant(compiler.Modules[name]) {
			continue
		}
		for _, rule := range compiler.Modules[name].Rules {
			ast.WalkTerms(rule, func(term *ast.Term) bool {
				ref, isRef := term.Value.(ast.Ref)
				if !isRef || !ref.HasPrefix(ast.DefaultRootRef) {
					return false
				}
				location := term.Location
				if !location.HasFile() { // the compiler rewrote it
					location = rule.Location
				}
				if err := d.refer(compiler, ref, location); err != nil {
					undefined = append(undefined, err)
				}
				return false
			})
		}
	}
	return undefined
}

// refer follows the constant names of a reference, through packages and through data. It gives an error if a rule is missing.
func (d *Data) refer(compiler *ast.Compiler, ref ast.Ref, location *ast.Location) *ast.Error {
	rules, read := compiler.RuleTree.Child(ref[0].Value), d.read
	var value any = d.document
	for i, element := range ref[1:] {
		if rules != nil && len(rules.Values) > 0 {
			return nil
		}
		text, isText := element.Value.(ast.String)
		if !isText {
			read.computed = true
			break
		}
		name, inside := string(text), rules
		if rules != nil {
			rules = rules.Child(text)
		}
		object, _ := value.(map[string]any)
		below, found := object[name]
		if rules == nil && !found {
			nearest := suggest.Nearest(name, namesAt(object, inside))
			hint := suggest.DidYouMean(name, namesAt(object, inside))
			if inside != nil && i > 0 {
				return ast.NewError(ast.TypeErr, location, "undefined rule %s%s", ref.GroundPrefix(), hint)
			}
			err := ast.NewError(ast.TypeErr, location, "undefined data %s%s", ref[:i+2], hint)
			d.missing = append(d.missing, missing{err, read, nearest})
			return nil
		}
		value, read = below, read.member(name)
	}
	read.all = true
	return nil
}

func namesAt(object map[string]any, rules *ast.TreeNode) []string {
	names := slices.Collect(maps.Keys(object))
	if rules != nil {
		for name := range rules.Children {
			if text, isText := name.(ast.String); isText {
				names = append(names, string(text))
			}
		}
	}
	return names
}

// Missing are the errors of references to data that is not there. In a map a name may be missing, unless the map has one that
// is nearly the same.
func (d *Data) Missing() ast.Errors {
	var errs ast.Errors
	for _, one := range d.missing {
		if !one.in.computed || one.nearest != "" || one.in == d.read {
			errs = append(errs, one.err)
		}
	}
	return errs
}

// Unread are the data that no rule reads. It is an error if the name is nearly one that rules read. Other names are given as
// remarks.
func (d *Data) Unread() (misspelt ast.Errors, unread []string) {
	d.unread(d.document, d.read, "data", func(at, name string, known []string) {
		nearest := Near(name, known)
		switch {
		case at != "data" && slices.Contains(d.own, name):
			misspelt = append(misspelt, ast.NewError(ast.TypeErr, nil, "%s.%s is read by nobody: %[2]s is at the top of the data", at, name))
		case nearest != "":
			misspelt = append(misspelt, ast.NewError(ast.TypeErr, nil, "%s.%s is read by no rule, did you mean %q?", at, name, nearest))
		default:
			unread = append(unread, at+"."+name+" is read by no rule")
		}
	})
	return misspelt, unread
}

func (d *Data) unread(object map[string]any, read *place, at string, tell func(at, name string, known []string)) {
	if read.all {
		return
	}
	for _, name := range slices.Sorted(maps.Keys(object)) {
		inside := read.members[name]
		below, isObject := object[name].(map[string]any)
		if inside == nil {
			tell(at, name, slices.Sorted(maps.Keys(read.members)))
			for _, own := range d.own {
				if _, found := below[own]; found {
					tell(at+"."+name, own, nil)
				}
			}
			continue
		}
		if isObject {
			d.unread(below, inside, at+"."+name, tell)
		}
	}
}

// Near is the known name that name may be a misspelling of. Names that are short, or that differ only in digits, do not count:
// they are alike by chance.
func Near(name string, known []string) string {
	const shortest = 4
	if len(name) < shortest {
		return ""
	}
	return suggest.Nearest(name, slices.DeleteFunc(slices.Clone(known), func(other string) bool {
		return len(other) < shortest || withoutDigits(name) == withoutDigits(other)
	}))
}

func withoutDigits(name string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsDigit(r) {
			return -1
		}
		return r
	}, name)
}

// Reserved refuses names of packages and data that the engine keeps for itself. It also refuses names that have a meaning in
// other programs with OPA, and none here.
func Reserved(modules map[string]*ast.Module, document map[string]any) ast.Errors {
	var errs ast.Errors
	for _, name := range slices.Sorted(maps.Keys(modules)) {
		pkg := modules[name].Package
		path := strings.TrimPrefix(pkg.Path.String(), "data.")
		switch first, _, _ := strings.Cut(path, "."); {
		case first == "gatehouse":
			errs = append(errs, ast.NewError(ast.CompileErr, pkg.Location, "package %s: gatehouse is reserved", path))
		case first == "system" && path != "system.log":
			errs = append(errs, ast.NewError(ast.CompileErr, pkg.Location, "package %s has no meaning here; of system only system.log has", path))
		}
	}
	for _, name := range []string{"gatehouse", "system"} {
		if _, found := document[name]; found {
			errs = append(errs, ast.NewError(ast.CompileErr, nil, "data.%s: %[1]s is reserved", name))
		}
	}
	return errs
}

// misnamed says what an unused rule was perhaps meant to be: one of the known names, or a test.
func misnamed(rule *ast.Rule, known []string) string {
	first, isVar := rule.Head.Ref()[0].Value.(ast.Var)
	if !isVar {
		return ""
	}
	name := string(first)
	if isTest(name) {
		return fmt.Sprintf("%s would not run: the name of a file with tests ends in _test.rego", name)
	}
	if nearest := Near(name, known); nearest != "" {
		return fmt.Sprintf("nothing uses %s, did you mean %q?", name, nearest)
	}
	return ""
}
