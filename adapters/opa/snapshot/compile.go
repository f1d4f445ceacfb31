package snapshot

import (
	"context"
	"fmt"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/storage"
	"github.com/open-policy-agent/opa/v1/storage/inmem"
	"github.com/open-policy-agent/opa/v1/util"

	"github.com/molecule-ai/gatehouse/adapters/opa/check"
	"github.com/molecule-ai/gatehouse/adapters/opa/mask"
	"github.com/molecule-ai/gatehouse/adapters/opa/regoval"
	"github.com/molecule-ai/gatehouse/server/admission"
	"github.com/molecule-ai/gatehouse/server/audit"
)

// ownData are the members of the data that the engine reads itself.
var ownData = []string{"enforcement", "mask", allowWeakerKey}

// tagKey is the member by which the engine knows which rule made an entry.
const tagKey = "gatehouse.rule"

// TaggedVar holds an entry with its tag.
const TaggedVar ast.Var = "__gatehouse_tagged__"

// compilation is a checked set of modules with its data.
type compilation struct {
	compiler *ast.Compiler
	store    storage.Store
	rules    []admission.Rule
	numbers  map[*ast.Rule]int // of annotated rules, in rules
	hooks    []check.Hook
	data     *check.Data
	remarks  []string

	stored    *storedOnly // nil: no rule is left out
	notJudged []audit.NotJudged
}

// compile compiles contents and checks them as a whole: strict mode, types against the input's schema, builtins, metadata of
// every rule, and the shape of entries in each hook's sets.
func compile(ctx context.Context, from Contents, schema []byte) (*compilation, error) {
	var schemaDocument any
	err := util.Unmarshal(schema, &schemaDocument)
	if err != nil {
		return nil, fmt.Errorf("input schema: %w", err)
	}
	schemas := ast.NewSchemaSet()
	schemas.Put(ast.SchemaRootRef, schemaDocument)

	if errs := check.Reserved(from.Modules, from.Data); len(errs) > 0 {
		return nil, errs
	}
	store := inmem.NewFromObjectWithOpts(from.Data, inmem.OptReturnASTValuesOnRead(true))
	result := &compilation{store: store, data: check.NewData(from.Data, ownData...), stored: from.stored}
	err = storage.Txn(ctx, store, storage.TransactionParams{}, func(txn storage.Transaction) error {
		result.compiler = ast.NewCompiler().SetErrorLimit(0).
			WithCapabilities(regoval.Capabilities()).WithDefaultRegoVersion(ast.RegoV1).
			WithStrict(true).WithSchemas(schemas).WithUseTypeCheckAnnotations(true).
			WithPathConflictsCheck(storage.NonEmpty(ctx, store, txn)).
			WithStageAfterID(ast.StageCheckDeprecatedBuiltins, ast.CompilerStageDefinition{
				Name: "GatehouseRules", MetricName: "gatehouse_rules", Stage: result.checkAndTag,
			})
		result.compiler.Compile(mask.Without(from.Modules))
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

// checkAndTag is a stage of the compiler. It comes after the checks of the author's code as it was written, and before rules
// are indexed.
func (c *compilation) checkAndTag(compiler *ast.Compiler) *ast.Error {
	rules, index, errs := check.Catalogue(compiler)
	errs = append(errs, c.data.Refer(compiler, func(*ast.Module) bool { return true })...)
	c.rules, c.numbers = rules, index
	c.hooks = check.Hooks(compiler)
	if !compiler.Failed() { // without types a set would look like none
		for _, h := range c.hooks {
			for _, set := range h.Sets {
				errs = append(errs, check.Shape(compiler, h.Name, set)...)
			}
		}
	}
	if len(errs) == 0 && !compiler.Failed() {
		errs, c.remarks = check.Unreachable(compiler, c.hooks, index)
	}
	if len(errs) > 0 {
		compiler.Errors = append(compiler.Errors, errs[:len(errs)-1]...)
		return errs[len(errs)-1]
	}
	if c.stored != nil {
		c.notJudged = c.stored.leaveOut(compiler, c.hooks, rules, index)
	}
	addFlatSets(compiler, c.hooks, index)
	for rule, number := range index {
		tag(rule, number)
	}
	return nil
}

// tag adds the rule's number to every entry of the rule: "deny contains v" becomes "deny contains object.union(v, {tagKey:
// number})". So the author writes metadata once, in the annotations, and not in every entry. An entry that another rule passes
// on keeps its tag.
func tag(rule *ast.Rule, number int) {
	tagged := ast.NewTerm(TaggedVar)
	marker := ast.ObjectTerm(ast.Item(ast.StringTerm(tagKey), ast.IntNumberTerm(number)))
	union := ast.ObjectUnion.Expr(rule.Head.Key, marker, tagged)
	union.Location = rule.Location
	rule.Body.Append(union)
	rule.Head.Key = tagged
}
