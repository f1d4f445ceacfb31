package admission_test

import (
	"testing"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/server/admission"
)

func facts(t testing.TB, workspace string, keys ...string) admission.Facts {
	t.Helper()
	found, err := admission.NewFacts(workspace != "", []byte(workspace), keys, nil)
	require.NoError(t, err)
	return found
}

func TestNewFactsSortsKeys(t *testing.T) {
	given := []string{"b", "a", "B", "b", ""}
	got, err := admission.NewFacts(true, []byte(`{"kind": "platform"}`), given, nil)
	require.NoError(t, err)
	require.Equal(t, []string{"", "B", "a", "b"}, got.SecretKeys)
	require.Equal(t, []string{}, got.GlobalSecretKeys, "never null")
	require.Equal(t, []string{"b", "a", "B", "b", ""}, given, "what the store read is its own")
	require.Equal(t, "platform", got.Kind())
}

func TestNewFactsWithoutARowHasAnEmptyWorkspace(t *testing.T) {
	for _, workspace := range [][]byte{nil, {}, []byte(`null`), []byte(`{"kind": "platform"}`), []byte(`nonsense`)} {
		got, err := admission.NewFacts(false, workspace, []string{"MODEL"}, []string{"MODEL"})
		require.NoError(t, err)
		require.Equal(t, `{}`, string(got.Workspace))
		require.Empty(t, got.Kind())
	}
}

func TestNewFactsRefusesARowWithoutAKind(t *testing.T) {
	for name, workspace := range map[string]string{
		"no row at all":    ``,
		"null":             `null`,
		"an array":         `["platform"]`,
		"text":             `"platform"`,
		"no column":        `{}`,
		"another column":   `{"Kind": "platform", "kinds": "platform"}`,
		"null kind":        `{"kind": null}`,
		"empty kind":       `{"kind": ""}`,
		"a number":         `{"kind": 1}`,
		"an object":        `{"kind": {"kind": "platform"}}`,
		"two kinds":        `{"kind": "platform", "kind": "workspace"}`,
		"cut off":          `{"kind": "platform"`,
		"further bytes":    `{"kind": "platform"} x`,
		"a lone surrogate": `{"kind": "\ud800"}`,
	} {
		t.Run(name, func(t *testing.T) {
			_, err := admission.NewFacts(true, []byte(workspace), nil, nil)
			require.ErrorContains(t, err, "facts: ")
		})
	}
}

func TestFactsEqual(t *testing.T) {
	row := `{"kind": "platform", "status": null}`
	make := func(exists bool, row string, own, global []string) admission.Facts {
		got, err := admission.NewFacts(exists, []byte(row), own, global)
		require.NoError(t, err)
		return got
	}
	base := make(true, row, []string{"a", "b"}, []string{"c"})
	require.True(t, base.Equal(make(true, row, []string{"b", "a", "a"}, []string{"c"})))

	for name, other := range map[string]admission.Facts{
		"a column":               make(true, `{"kind": "platform", "status": "online"}`, []string{"a", "b"}, []string{"c"}),
		"a secret more":          make(true, row, []string{"a", "b", "c"}, []string{"c"}),
		"a secret less":          make(true, row, []string{"a"}, []string{"c"}),
		"a secret's case":        make(true, row, []string{"A", "b"}, []string{"c"}),
		"a global secret":        make(true, row, []string{"a", "b"}, nil),
		"own and global swapped": make(true, row, []string{"c"}, []string{"a", "b"}),
		"no row":                 make(false, "", []string{"a", "b"}, []string{"c"}),
	} {
		require.False(t, base.Equal(other), name)
		require.False(t, other.Equal(base), name)
	}
	require.True(t, make(false, "", nil, nil).Equal(make(false, "null", []string{}, nil)))
}

func TestInputJSONHasEveryMember(t *testing.T) {
	one := review(t, `{"caller_proof": "install", "workspace": `+withID(`"tier": 12345678901234567890`)+`}`)
	found := facts(t, `{"kind": "platform", "spend": 0.10}`, "MODEL")
	got, err := admission.NewInput(one, found, admission.Deployment{SaaS: true}).JSON()
	require.NoError(t, err)
	require.NoError(t, got.Compact())
	require.JSONEq(t, `{"hook": "register", "dry_run": false, "caller_proof": "install",
		"request": {"id": "`+workspaceID+`", "tier": 12345678901234567890},
		"facts": {"exists": true, "workspace": {"kind": "platform", "spend": 0.10}, "secret_keys": ["MODEL"], "global_secret_keys": []},
		"url": {"valid": false, "scheme": "", "host": "", "ip": "", "port": 0, "userinfo": false},
		"deployment": {"saas": true}}`, string(got))
	require.Contains(t, string(got), "12345678901234567890", "numbers keep their digits")
	require.Contains(t, string(got), "0.10")
	require.Equal(t, jsontext.Kind('{'), got.Kind())
}
