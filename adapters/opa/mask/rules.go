package mask

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/uuid"
	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/rego"
	"github.com/open-policy-agent/opa/v1/storage"
	"github.com/open-policy-agent/opa/v1/storage/inmem"

	"github.com/molecule-ai/gatehouse/adapters/opa/check"
	"github.com/molecule-ai/gatehouse/adapters/opa/regoval"
	"github.com/molecule-ai/gatehouse/internal/suggest"
	"github.com/molecule-ai/gatehouse/server/admission"
)

// maskRules is the rule mask of package system.log, which OPA's own decision logs know too.
type maskRules struct {
	query rego.PreparedEvalQuery
}

// Without leaves package system.log out of modules: its input is a decision, and hooks are checked against another one.
func Without(modules map[string]*ast.Module) map[string]*ast.Module {
	rest := maps.Clone(modules)
	maps.DeleteFunc(rest, func(_ string, module *ast.Module) bool { return isLog(module) })
	return rest
}

func isLog(module *ast.Module) bool { return module.Package.Path.Equal(check.LogPackage) }

// rehearsalTimeout is far beyond any mask that could be applied in time.
const rehearsalTimeout = 5 * time.Second

// newMaskRules compiles the rule with all modules that it may use, and evaluates it once. It gives nil if there is no rule.
func newMaskRules(
	ctx context.Context, modules map[string]*ast.Module, data map[string]any, names *check.Data,
) (*maskRules, error) {
	mask := check.LogPackage.Append(ast.StringTerm("mask"))
	if !slices.ContainsFunc(slices.Collect(maps.Values(modules)), isLog) {
		return nil, nil
	}
	store := inmem.NewFromObjectWithOpts(data, inmem.OptReturnASTValuesOnRead(true))
	compiler := ast.NewCompiler().SetErrorLimit(0).WithCapabilities(regoval.Capabilities()).WithDefaultRegoVersion(ast.RegoV1).WithStrict(true)
	err := storage.Txn(ctx, store, storage.TransactionParams{}, func(txn storage.Transaction) error {
		compiler.WithPathConflictsCheck(storage.NonEmpty(ctx, store, txn)).Compile(modules)
		return nil
	})
	if err != nil {
		return nil, err
	}
	if compiler.Failed() {
		return nil, compiler.Errors
	}
	errs := append(names.Refer(compiler, isLog), checkLogRules(compiler, mask)...)
	if len(errs) > 0 {
		return nil, errs
	}
	query, err := rego.New(
		rego.Compiler(compiler), rego.Store(store), rego.StrictBuiltinErrors(true),
		rego.ParsedQuery(ast.NewBody(ast.NewExpr(ast.NewTerm(mask)))),
	).PrepareForEval(ctx)
	if err != nil {
		return nil, fmt.Errorf("the mask rule: %w", err)
	}
	rules := &maskRules{query}
	limited, cancel := context.WithTimeout(ctx, rehearsalTimeout)
	defer cancel()
	_, err = rules.evaluate(limited, admission.Decision{}, admission.Input{Request: []byte("{}"), Facts: admission.Facts{Workspace: []byte("{}")}})
	return rules, err
}

// checkLogRules refuses rules of system.log that mask does not use. OPA also has the rule drop there. It is refused: every
// decision is recorded.
func checkLogRules(compiler *ast.Compiler, mask ast.Ref) ast.Errors {
	reached := check.Reached(compiler, compiler.GetRules(mask))
	var errs ast.Errors
	for _, name := range slices.Sorted(maps.Keys(compiler.Modules)) {
		module := compiler.Modules[name]
		if !isLog(module) {
			continue
		}
		if len(module.Rules) == 0 {
			errs = append(errs, ast.NewError(ast.TypeErr, module.Package.Location, "system.log has no rule mask"))
		}
		errs = append(errs, checkLogReads(module)...)
		for _, rule := range module.Rules {
			if reached[rule] {
				continue
			}
			name := rule.Head.Ref()[0].String()
			hint := suggest.DidYouMean(name, []string{"mask"})
			if name == "drop" {
				hint = ": every decision is recorded"
			}
			errs = append(errs, ast.NewError(ast.TypeErr, rule.Location, "unknown rule of system.log: %s%s", name, hint))
		}
	}
	return errs
}

// eventMembers are the members of what the rule sees, by their place.
var eventMembers = map[string][]string{
	"input":        {"decision_id", "path", "input", "result", "error", "requested_by", "timestamp"},
	"input.input":  {"hook", "dry_run", "caller_proof", "request", "facts", "url", "deployment"},
	"input.result": {"allowed", "violations"},
	"input.error":  {"code", "detail"},
}

// checkLogReads refuses misspelt members of the event: a mask that reads one would never mask anything.
func checkLogReads(module *ast.Module) ast.Errors {
	var errs ast.Errors
	ast.WalkTerms(module, func(term *ast.Term) bool {
		ref, isRef := term.Value.(ast.Ref)
		if !isRef || !ref[0].Equal(ast.InputRootDocument) {
			return false
		}
		for i := 1; i < len(ref); i++ {
			members, known := eventMembers[ref[:i].String()]
			name, isText := ref[i].Value.(ast.String)
			if !known || !isText {
				break
			}
			if !slices.Contains(members, string(name)) {
				errs = append(errs, ast.NewError(ast.TypeErr, term.Location, "a log event has no %s%s",
					ref[:i+1], suggest.DidYouMean(string(name), members)))
				break
			}
		}
		return false
	})
	return errs
}

// logEvent is what the rule sees. Its names are those of OPA's decision logs.
type logEvent struct {
	DecisionID  uuid.UUID          `json:"decision_id"`
	Path        string             `json:"path"`
	Input       jsontext.Value     `json:"input"`
	Result      *logResult         `json:"result,omitempty"`
	Error       *admission.Failure `json:"error,omitempty"`
	RequestedBy string             `json:"requested_by,omitempty"`
	Timestamp   time.Time          `json:"timestamp"`
}

type logResult struct {
	Allowed    bool                  `json:"allowed"`
	Violations []admission.Violation `json:"violations"`
}

func (m *maskRules) evaluate(ctx context.Context, d admission.Decision, in admission.Input) ([]maskOp, error) {
	event, err := eventOf(d, in)
	if err != nil {
		return nil, err
	}
	var results rego.ResultSet
	err = regoval.Recovering(func() (err error) {
		results, err = m.query.Eval(ctx, rego.EvalParsedInput(event.Value), rego.EvalTime(d.At))
		return err
	})
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return nil, fmt.Errorf("the mask rule: %w", err)
	}
	if len(results) == 0 {
		return nil, nil
	}
	entries, isList := results[0].Expressions[0].Value.([]any)
	if !isList {
		return nil, errors.New("the mask rule gives no set")
	}
	return readMaskOps(entries)
}

func eventOf(d admission.Decision, in admission.Input) (*ast.Term, error) {
	event := logEvent{
		DecisionID: d.ID, Path: "admission/" + in.Hook, RequestedBy: d.Caller, Timestamp: d.At, Error: d.Failed,
	}
	if d.Failed == nil {
		event.Result = &logResult{Allowed: d.Verdict.Allowed(), Violations: d.Verdict.Violations}
	}
	var err error
	event.Input, err = in.JSON()
	if err != nil {
		return nil, err
	}
	text, err := json.Marshal(event)
	if err != nil {
		return nil, err
	}
	return regoval.JSON(text)
}
