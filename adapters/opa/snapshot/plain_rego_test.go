package snapshot_test

import (
	"bytes"
	"encoding/json"
	"io/fs"
	"path"
	"testing"
	"testing/fstest"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/rego"
	"github.com/open-policy-agent/opa/v1/storage/inmem"
	"github.com/open-policy-agent/opa/v1/util"
	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/adapters/opa/casetest"
	"github.com/molecule-ai/gatehouse/adapters/opa/opatest"
	"github.com/molecule-ai/gatehouse/adapters/opa/snapshot"
	"github.com/molecule-ai/gatehouse/policies"
	policytests "github.com/molecule-ai/gatehouse/policies_test"
	"github.com/molecule-ai/gatehouse/server/admission"
)

// said is the content of an entry, in a form that can be compared.
type said struct{ reason, message string }

// plain evaluates with OPA alone: the policies as they are written, and the input as JSON.
type plain struct {
	modules []func(*rego.Rego)
	data    map[string]any
}

func readPlain(t *testing.T) plain {
	t.Helper()
	var read plain
	err := fs.WalkDir(policies.FS, ".", func(name string, _ fs.DirEntry, err error) error {
		if err != nil || path.Ext(name) != ".rego" {
			return err
		}
		text, err := fs.ReadFile(policies.FS, name)
		read.modules = append(read.modules, rego.Module(name, string(text)))
		return err
	})
	require.NoError(t, err)
	text, err := fs.ReadFile(policies.FS, "data.yaml")
	require.NoError(t, err)
	require.NoError(t, util.Unmarshal(text, &read.data))
	return read
}

func (p plain) prepare(t *testing.T, changes map[string]any) rego.PreparedEvalQuery {
	t.Helper()
	prepared, err := rego.New(append([]func(*rego.Rego){
		rego.Query("x := data.admission[input.hook].deny"), rego.Store(inmem.NewFromObject(casetest.Merge(p.data, changes))), rego.StrictBuiltinErrors(true),
	}, p.modules...)...).PrepareForEval(t.Context())
	require.NoError(t, err)
	return prepared
}

func denied(t *testing.T, query rego.PreparedEvalQuery, in admission.Input) map[said]bool {
	t.Helper()
	document, err := in.JSON()
	require.NoError(t, err)
	input, err := ast.ValueFromReader(bytes.NewReader(document))
	require.NoError(t, err)
	results, err := query.Eval(t.Context(), rego.EvalParsedInput(input))
	require.NoError(t, err)
	require.Len(t, results, 1)
	entries := make(map[said]bool)
	for _, entry := range results[0].Bindings["x"].([]any) {
		members := entry.(map[string]any)
		entries[said{members["reason"].(string), members["message"].(string)}] = true
	}
	return entries
}

// snapshotWith has the embedded policies with other data.
func snapshotWith(t *testing.T, data map[string]any) *snapshot.Snapshot {
	t.Helper()
	changed := make(fstest.MapFS)
	err := fs.WalkDir(policies.FS, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		text, err := fs.ReadFile(policies.FS, name)
		changed[name] = &fstest.MapFile{Data: text}
		return err
	})
	require.NoError(t, err)
	text, err := json.Marshal(data) // which is YAML too
	require.NoError(t, err)
	changed["data.yaml"] = &fstest.MapFile{Data: text}
	return opatest.LoadUnchecked(t, snapshot.Source{Name: "changed", FS: changed})
}

func TestVerdictsEqualPlainOPA(t *testing.T) {
	written := readPlain(t)
	query, snapshot := written.prepare(t, nil), opatest.Embedded(t)
	all, err := casetest.Load(policytests.FS, "cases")
	require.NoError(t, err)
	entries := 0
	for _, one := range all {
		query, snapshot := query, snapshot
		if len(one.Data()) > 0 {
			query, snapshot = written.prepare(t, one.Data()), snapshotWith(t, casetest.Merge(written.data, one.Data()))
		}
		got := make(map[said]bool)
		for _, violation := range opatest.Verdict(t, snapshot, one.Input()).Violations {
			got[said{violation.Reason, violation.Message}] = true
		}
		require.Equal(t, denied(t, query, one.Input()), got, "%s: %s", one.File, one.Name)
		entries += len(got)
	}
	require.Greater(t, entries, 100, "the cases bring rules to fire")
}
