package fastpath

import (
	"context"
	"fmt"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/storage"
	"github.com/open-policy-agent/opa/v1/storage/inmem"
	"github.com/open-policy-agent/opa/v1/topdown"
)

// pair is one set of policies, which the fast path and OPA both evaluate. The tests of this package compare the two.
type pair struct {
	compiler *ast.Compiler
	queries  ast.QueryCompiler
	store    storage.Store
	txn      storage.Transaction // which is never ended: the data do not change
	data     ast.Value
	guards   *guards
	nodes    []*node
}

// node is what the rules of one name define.
type node struct {
	ref      ast.Ref
	document *document
	tree     *ast.TreeNode
	query    ast.Body   // for OPA
	sets     *Evaluator // if the document is a partial set
}

func newPair(modules map[string]string, data map[string]any, options ast.ParserOptions) (*pair, error) {
	compiler, err := ast.CompileModulesWithOpt(modules, ast.CompileOpts{ParserOptions: options})
	if err != nil {
		return nil, err
	}
	store := inmem.NewFromObjectWithOpts(data, inmem.OptReturnASTValuesOnRead(true))
	txn, err := store.NewTransaction(context.Background())
	if err != nil {
		return nil, err
	}
	document, err := store.Read(context.Background(), txn, storage.Path{})
	if err != nil {
		return nil, err
	}
	made := &pair{compiler: compiler, queries: compiler.QueryCompiler(), store: store, txn: txn}
	made.data = document.(ast.Value)
	made.guards = newGuards(compiler, made.data)
	return made, made.visit(compiler.RuleTree, nil)
}

// visit finds everything that has rules and is no function.
func (p *pair) visit(tree *ast.TreeNode, path ast.Ref) error {
	if len(tree.Values) > 0 && len(tree.Values[0].Head.Args) == 0 {
		ref := append(ast.Ref{ast.DefaultRootDocument}, path[1:]...) // the tree's first name is data
		query, err := p.queries.Compile(ast.NewBody(ast.Equality.Expr(ast.VarTerm("found"), ast.NewTerm(ref))))
		if err != nil {
			return err
		}
		found := &node{ref: ref, document: p.guards.document(tree), tree: tree, query: query}
		if len(tree.Children) == 0 && tree.Index != nil && tree.Values[0].Head.RuleKind() == ast.MultiValue {
			found.sets, err = New(p.compiler, p.data, []ast.Ref{ref})
			if err != nil {
				return err
			}
		}
		p.nodes = append(p.nodes, found)
	}
	for _, key := range tree.Sorted {
		err := p.visit(tree.Children[key], append(path[:len(path):len(path)], ast.NewTerm(key)))
		if err != nil {
			return err
		}
	}
	return nil
}

// anyInput resolves references of the fast path in an input of any value. In a review a view does this.
type anyInput struct{ input, data ast.Value }

func (in anyInput) Resolve(ref ast.Ref) (ast.Value, error) {
	switch {
	case ref[0].Equal(ast.InputRootDocument) && in.input == nil:
		return nil, nil
	case ref[0].Equal(ast.InputRootDocument):
		return find(in.input, ref[1:]), nil
	case ref[0].Equal(ast.DefaultRootDocument):
		return resolveStored(in.data, ref[1:])
	default:
		return nil, ast.UnknownValueErr{}
	}
}

// tell gives what the fast path says of a document.
func (p *pair) tell(of *node, input ast.Value) told {
	if of.document.opaque {
		return told{outcome: unknown}
	}
	search := newSearch(len(p.guards.documents))
	search.start(anyInput{input, p.data})
	return search.tell(of.document)
}

// entries is what the fast path says of a partial set, as of those of a hook.
func (p *pair) entries(of *node, input ast.Value) told {
	if of.sets == nil {
		return told{outcome: unknown}
	}
	sets, all := of.sets.entries(anyInput{input, p.data}, func(*ast.Rule) bool { return false })
	if !all {
		return told{outcome: unknown}
	}
	return told{outcome: holds, value: ast.NewSet(sets[0]...)}
}

// evaluate is what OPA says of a document: nil when it is undefined.
func (p *pair) evaluate(ctx context.Context, of *node, input ast.Value) (found ast.Value, err error) {
	cancel := topdown.NewCancel()
	stop := context.AfterFunc(ctx, cancel.Cancel)
	defer stop()
	asked := topdown.NewQuery(of.query).WithCompiler(p.compiler).WithQueryCompiler(p.queries).WithStore(p.store).WithTransaction(p.txn).
		WithTime(time.Unix(0, 0)).WithCancel(cancel).WithStrictBuiltinErrors(true)
	if input != nil {
		asked = asked.WithInput(ast.NewTerm(input))
	}
	err = asked.Iter(ctx, func(result topdown.QueryResult) error {
		found = result["found"].Value
		return nil
	})
	return found, err
}

// compare evaluates a document by the fast path and by OPA. It says whether the fast path could tell, and how the two differ.
func (p *pair) compare(ctx context.Context, of *node, input ast.Value) (decided bool, difference error) {
	known, set := p.tell(of, input), p.entries(of, input)
	if known.outcome == unknown && set.outcome == unknown {
		return false, nil
	}
	want, err := p.evaluate(ctx, of, input)
	for _, got := range []told{known, set} {
		if got.outcome == unknown {
			continue
		}
		if err != nil || !agrees(got.value, want) {
			return true, &disagreement{of.ref, want, err, got.value, nil, input}
		}
	}
	return true, nil
}

// compareAssisted evaluates a partial set by OPA with and without the assistance of the fast path.
func (p *pair) compareAssisted(ctx context.Context, of *node, input ast.Value) error {
	want, wantErr := p.evaluate(ctx, of, input)
	plain := of.tree.Index
	of.sets.Assist()
	got, err := p.evaluate(ctx, of, input)
	of.tree.Index = plain
	if (err == nil) != (wantErr == nil) || err == nil && !agrees(got, want) {
		return &disagreement{of.ref, want, wantErr, got, err, input}
	}
	return nil
}

// disagreement describes how the fast path differs from OPA. There must be none.
type disagreement struct {
	of      ast.Ref
	want    ast.Value
	wantErr error
	got     ast.Value
	err     error
	input   ast.Value
}

func (d *disagreement) Error() string {
	return fmt.Sprintf("%s: OPA says %v (%v), the fast path %v (%v), of input %v", d.of, d.want, d.wantErr, d.got, d.err, d.input)
}

// agrees is equality to the last digit.
func agrees(got, want ast.Value) bool {
	if got == nil || want == nil {
		return got == nil && want == nil
	}
	return got.Compare(want) == 0 && got.String() == want.String()
}
