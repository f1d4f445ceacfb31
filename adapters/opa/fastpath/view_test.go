package fastpath_test

import (
	"io/fs"
	"path"
	"testing"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/adapters/opa/casetest"
	"github.com/molecule-ai/gatehouse/adapters/opa/fastpath"
	"github.com/molecule-ai/gatehouse/adapters/opa/regoval"
	"github.com/molecule-ai/gatehouse/policies"
	policytests "github.com/molecule-ai/gatehouse/policies_test"
	"github.com/molecule-ai/gatehouse/server/admission"
	"github.com/molecule-ai/gatehouse/server/admission/decode"
)

// embedded is an evaluator of the embedded policies, which knows the names that they mention.
func embedded(t *testing.T) *fastpath.Evaluator {
	t.Helper()
	modules := make(map[string]string)
	err := fs.WalkDir(policies.FS, ".", func(name string, _ fs.DirEntry, err error) error {
		if err != nil || path.Ext(name) != ".rego" {
			return err
		}
		text, err := fs.ReadFile(policies.FS, name)
		modules[name] = string(text)
		return err
	})
	require.NoError(t, err)
	compiler, err := ast.CompileModules(modules)
	require.NoError(t, err)
	evaluator, err := fastpath.New(compiler, ast.NewObject(), []ast.Ref{ast.MustParseRef("data.admission.register.deny")})
	require.NoError(t, err)
	return evaluator
}

func input(t *testing.T, body string, workspace string, keys ...string) admission.Input {
	t.Helper()
	review, err := decode.Review("register", []byte(body), decode.DefaultMaxDepth)
	require.NoError(t, err)
	facts, err := admission.NewFacts(workspace != "", []byte(workspace), keys, nil)
	require.NoError(t, err)
	return admission.NewInput(review, facts, admission.Deployment{})
}

func TestViewKnowsWhatTheInputHolds(t *testing.T) {
	evaluator := embedded(t)
	all, err := casetest.Load(policytests.FS, "cases")
	require.NoError(t, err)
	odd := `{"workspace": {"id": "01890a5d-ac96-774b-bcce-b302099a8057", "k\u0069nd": "pl\u0061tform", "agent_card": {"url": "x"},
		"url": "https://\u0061", "tier": 1e2, "parent_id": [1, {"a": null}], "name": {"url": 1}}}`
	inputs := []admission.Input{input(t, odd, `{"k\u0069nd": "a", "url": null, "other": 1}`, "A", "B")}
	for _, one := range all {
		inputs = append(inputs, one.Input())
	}
	known := 0
	for _, in := range inputs {
		document, err := regoval.Input(in)
		require.NoError(t, err)
		for _, text := range []string{
			"input.hook", "input.dry_run", "input.caller_proof", "input.request.kind", "input.request.url", "input.request.tier",
			"input.request.parent_id", "input.request.parent_id[1].a", "input.request.name.url", "input.request.kind.deeper",
			"input.facts.exists", "input.facts.workspace.kind", "input.facts.workspace.url", "input.facts.secret_keys", "input.facts.secret_keys.A",
			"input.facts.global_secret_keys", "input.url.valid", "input.url.scheme", "input.url.host", "input.url.ip", "input.url.port",
			"input.url.userinfo", "input.url.host.deeper", "input.deployment.saas",
		} {
			ref := ast.MustParseRef(text)
			found, isKnown := evaluator.Seen(in, ref)
			require.True(t, isKnown, text)
			want, err := document.Find(ref[1:])
			if err != nil {
				require.Nil(t, found, text)
				continue
			}
			require.NotNil(t, found, text)
			require.Zero(t, want.Compare(found), "%s: %v, %v", text, want, found)
			known++
		}
	}
	require.Greater(t, known, 1000)
}

func TestViewLeavesUnmentionedMembersToOPA(t *testing.T) {
	evaluator := embedded(t)
	in := input(t, `{"workspace": {"id": "01890a5d-ac96-774b-bcce-b302099a8057", "agent_card": {}, "kind": "platform"}}`, "")
	for _, text := range []string{
		"input", "input.request", "input.request.agent_card", "input.request.agent_card.url", "input.facts", "input.facts.workspace",
		"input.facts.workspace.other", "input.url", "input.deployment", "input.other", "input.url.other", "input.facts.other", "input.request[0]",
	} {
		_, isKnown := evaluator.Seen(in, ast.MustParseRef(text))
		require.False(t, isKnown, text)
	}
}

// In OPA's store the names of a path are texts: 1 finds "1", and "0" finds the first element.
func TestViewResolvesDataAsTheStoreDoes(t *testing.T) {
	data := ast.MustParseTerm(`{"a": {"1": "x"}, "l": ["y"]}`).Value
	compiler := ast.MustCompileModules(map[string]string{"t.rego": "package t\n\np contains 1 if true\n"})
	evaluator, err := fastpath.New(compiler, data, []ast.Ref{ast.MustParseRef("data.t.p")})
	require.NoError(t, err)
	in := input(t, `{"workspace": {"id": "01890a5d-ac96-774b-bcce-b302099a8057"}}`, "")
	for text, want := range map[string]ast.Value{
		`data.a["1"]`: ast.String("x"), `data.a[1]`: ast.String("x"), `data.l[0]`: ast.String("y"), `data.none`: nil, `data.a[true]`: nil,
	} {
		found, known := evaluator.Seen(in, ast.MustParseRef(text))
		require.True(t, known, text)
		require.Equal(t, want, found, text)
	}
	_, known := evaluator.Seen(in, ast.MustParseRef(`data.l["0"]`))
	require.False(t, known)
}
