package opa

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/storage"
	"github.com/open-policy-agent/opa/v1/storage/inmem"
	"github.com/open-policy-agent/opa/v1/util"

	"github.com/molecule-ai/gatehouse/adapters/opa/check"
	"github.com/molecule-ai/gatehouse/adapters/opa/regoval"
	"github.com/molecule-ai/gatehouse/server/admission"
)

// ownData are the members of the data that the engine reads itself.
var ownData = []string{"enforcement", "mask", allowWeakerKey}

// tagKey is the member by which the engine knows which rule made an entry.
const tagKey = "gatehouse.rule"

// taggedVar holds an entry with its tag.
const taggedVar ast.Var = "__gatehouse_tagged__"

// compilation is a checked set of modules with its data.
type compilation struct {
	compiler *ast.Compiler
	store    storage.Store
	rules    []admission.Rule
	hooks    []hook
	data     *check.Data
	remarks  []string

	stored    *storedOnly // nil: no rule is left out
	notJudged []admission.NotJudged
}

// hook is a package admission.<name> that defines deny.
type hook struct {
	name string
	sets []string // deny, and warn if the package has it
}

// compile checks contents as a whole: strict compilation, types against the input's schema, builtins,
// metadata of every rule, and the shape of what each hook's sets can hold.
func compile(ctx context.Context, from contents, schema []byte) (*compilation, error) {
	var schemaDocument any
	err := util.Unmarshal(schema, &schemaDocument)
	if err != nil {
		return nil, fmt.Errorf("input schema: %w", err)
	}
	schemas := ast.NewSchemaSet()
	schemas.Put(ast.SchemaRootRef, schemaDocument)

	if errs := check.Reserved(from.modules, from.data); len(errs) > 0 {
		return nil, errs
	}
	store := inmem.NewFromObjectWithOpts(from.data, inmem.OptReturnASTValuesOnRead(true))
	result := &compilation{store: store, data: check.NewData(from.data, ownData...), stored: from.stored}
	err = storage.Txn(ctx, store, storage.TransactionParams{}, func(txn storage.Transaction) error {
		result.compiler = ast.NewCompiler().SetErrorLimit(0).
			WithCapabilities(regoval.Capabilities()).WithDefaultRegoVersion(ast.RegoV1).
			WithStrict(true).WithSchemas(schemas).WithUseTypeCheckAnnotations(true).
			WithPathConflictsCheck(storage.NonEmpty(ctx, store, txn)).
			WithStageAfterID(ast.StageCheckDeprecatedBuiltins, ast.CompilerStageDefinition{
				Name: "GatehouseRules", MetricName: "gatehouse_rules", Stage: result.checkAndTag,
			})
		result.compiler.Compile(from.withoutLog().modules)
		return nil
	})
	if err != nil {
		return nil, err
	}
	if result.compiler.Failed() {
		return nil, result.compiler.Errors
	}
	if len(result.hooks) == 0 {
		return nil, fmt.Errorf("no hook: no package admission.<hook> defines deny")
	}
	return result, nil
}

// checkAndTag is a stage of the compiler, after the author's code has passed its checks as it was written and
// before rules are indexed.
func (c *compilation) checkAndTag(compiler *ast.Compiler) *ast.Error {
	rules, index, errs := catalogue(compiler)
	errs = append(errs, c.data.Refer(compiler, func(*ast.Module) bool { return true })...)
	c.rules = rules
	c.hooks = findHooks(compiler)
	if !compiler.Failed() { // without types a set would look like none
		for _, h := range c.hooks {
			for _, set := range h.sets {
				errs = append(errs, checkSet(compiler, h.name, set)...)
			}
		}
	}
	if len(errs) == 0 && !compiler.Failed() {
		errs, c.remarks = checkReach(compiler, c.hooks, index)
	}
	if len(errs) > 0 {
		compiler.Errors = append(compiler.Errors, errs[:len(errs)-1]...)
		return errs[len(errs)-1]
	}
	if c.stored != nil {
		c.notJudged = c.stored.leaveOut(compiler, c.hooks, rules, index)
	}
	addLive(compiler, c.hooks, index)
	for rule, number := range index {
		tag(rule, number)
	}
	return nil
}

// tag makes every entry of a rule carry the rule's number: deny contains v becomes deny contains
// object.union(v, {tagKey: number}). So metadata is written once, in the annotations, and no author has to
// repeat it in entries. An entry that is passed on keeps its tag.
func tag(rule *ast.Rule, number int) {
	tagged := ast.NewTerm(taggedVar)
	marker := ast.ObjectTerm(ast.Item(ast.StringTerm(tagKey), ast.IntNumberTerm(number)))
	union := ast.ObjectUnion.Expr(rule.Head.Key, marker, tagged)
	union.Location = rule.Location
	rule.Body.Append(union)
	rule.Head.Key = tagged
}

var hooksRoot = ast.MustParseRef("data.admission")

func findHooks(compiler *ast.Compiler) []hook {
	var hooks []hook
	names := make(map[string]bool)
	for _, module := range compiler.Modules {
		path := module.Package.Path
		if len(path) != len(hooksRoot)+1 || !path.HasPrefix(hooksRoot) {
			continue
		}
		name, isText := path[len(path)-1].Value.(ast.String)
		if !isText || names[string(name)] {
			continue
		}
		found := hook{name: string(name)}
		for _, set := range sets {
			if len(compiler.GetRulesExact(setRef(found.name, set))) > 0 {
				found.sets = append(found.sets, set)
			}
		}
		if slices.Contains(found.sets, "deny") {
			names[found.name] = true
			hooks = append(hooks, found)
		}
	}
	slices.SortFunc(hooks, func(a, b hook) int { return slices.Compare([]string{a.name}, []string{b.name}) })
	return hooks
}

func setRef(hook, set string) ast.Ref {
	return hooksRoot.Append(ast.StringTerm(hook)).Append(ast.StringTerm(set))
}

// sortedKeys are the keys of m in order.
func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K {
	keys := make([]K, 0, len(m))
	for key := range m {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}
