package snapshot_test

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/adapters/opa/casetest"
	"github.com/molecule-ai/gatehouse/adapters/opa/opatest"
	"github.com/molecule-ai/gatehouse/adapters/opa/snapshot"
)

func someFiles(changed map[string]string) map[string]string {
	all := map[string]string{
		"register/some_rule.rego": opatest.HookPackage + opatest.Annotation("SOME_CODE") + "deny contains violation if {\n\tinput.request.tier > data.tiers.max\n\t" + opatest.SomeEntry + "\n}\n",
		"data.yaml":               "tiers: {max: 4}\n",
	}
	for name, text := range changed {
		all[name] = text
		if text == "" {
			delete(all, name)
		}
	}
	return all
}

func TestRevisionChangesWithPoliciesAndDataAlone(t *testing.T) {
	base := opatest.Load(t, opatest.Files(someFiles(nil)))
	require.Regexp(t, `^sha256:[0-9a-f]{16}$`, base.Revision())

	text := someFiles(nil)["register/some_rule.rego"]
	for name, changed := range map[string]map[string]string{
		"a comment in a rule":   {"register/some_rule.rego": text + "# why\n"},
		"another file's name":   {"register/some_rule.rego": "", "register/other_rule.rego": text},
		"a module more":         {"lib/a.rego": "package admission.lib\n\na := 1\n"},
		"a value":               {"data.yaml": "tiers: {max: 5}\n"},
		"a value's type":        {"data.yaml": "tiers: {max: '4'}\n"},
		"a key more":            {"data.yaml": "tiers: {max: 4, min: 1}\n"},
		"data in another place": {"other/data.yaml": "tiers: {max: 4}\n"},
	} {
		require.NotEqual(t, base.Revision(), opatest.Load(t, opatest.Files(someFiles(changed))).Revision(), name)
	}
	for name, added := range map[string]map[string]string{
		"the same":          nil,
		"tests":             {"register/some_rule_test.rego": "package a\n\nimport rego.v1\n"},
		"tests with faults": {"some_test.rego": "not Rego"},
		"other files":       {"README.md": "x", "a.yaml": "cases: []", "notes.txt": "x", "input.schema.json": "{}", "rego": "x"},
		"what editors and mounts leave": {".#some_rule.rego": "not Rego", ".git/a.rego": "not Rego",
			"..2026_04_01/register/some_rule.rego": text, "..2026_04_01/data.yaml": "tiers: {max: 1}"},
		"data in its folder, as JSON":       {"data.yaml": "", "tiers/data.json": `{"max": 4}`},
		"data written in another way":       {"data.yaml": "# how many\ntiers:\n  max: 4\n"},
		"data with the other file's ending": {"data.yaml": "", "data.yml": "tiers: {max: 4}"},
	} {
		require.Equal(t, base.Revision(), opatest.Load(t, opatest.Files(someFiles(added))).Revision(), name)
	}
}

func TestRevisionIsTheSameInEveryFolder(t *testing.T) {
	want := opatest.Load(t, opatest.Files(someFiles(nil)))
	for range 2 {
		place := t.TempDir()
		for name, text := range someFiles(map[string]string{"data.yaml": someFiles(nil)["data.yaml"] + opatest.Gateless}) {
			require.NoError(t, os.MkdirAll(filepath.Join(place, filepath.Dir(name)), 0o755))
			require.NoError(t, os.WriteFile(filepath.Join(place, name), []byte(text), 0o600))
		}
		got := opatest.Load(t, snapshot.Directory(place))
		require.Equal(t, want.Revision(), got.Revision())
		require.Equal(t, place, got.Source())
		require.Equal(t, want.Rules(), got.Rules(), "and neither do the rules")
	}
}

// A ConfigMap is mounted as links to a hidden folder, which is replaced when it changes.
func TestMountedConfigMapIsReadOnce(t *testing.T) {
	place := t.TempDir()
	hidden := filepath.Join(place, "..2026_04_01")
	require.NoError(t, os.Mkdir(hidden, 0o755))
	rule := opatest.HookPackage + opatest.Annotation("SOME_CODE") + "deny contains violation if {\n\ta\n\t" + opatest.SomeEntry + "\n}\n\ndefault a := false\n"
	require.NoError(t, os.WriteFile(filepath.Join(hidden, "some_rule.rego"), []byte(rule), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(hidden, "data.yaml"), []byte(opatest.Gateless), 0o600))
	require.NoError(t, os.Symlink("..2026_04_01", filepath.Join(place, "..data")))
	require.NoError(t, os.Symlink("..data/data.yaml", filepath.Join(place, "data.yaml")))
	require.NoError(t, os.Symlink("..data/some_rule.rego", filepath.Join(place, "some_rule.rego")))
	require.Len(t, opatest.Load(t, snapshot.Directory(place)).Rules(), 1)
}

// changing is a file system whose file has another text each time it is opened, as if it were being replaced.
type changing struct {
	fs.FS
	opened int
}

func (c *changing) Open(name string) (fs.File, error) {
	if name != "data.yaml" {
		return c.FS.Open(name)
	}
	c.opened++
	text := fmt.Sprintf("%slimit: %d", opatest.Gateless, c.opened)
	return fstest.MapFS{name: &fstest.MapFile{Data: []byte(text)}}.Open(name)
}

func TestRevisionIsOfTheFilesAsTheyWereRead(t *testing.T) {
	texts := map[string]string{"register/some_rule.rego": opatest.HookPackage + opatest.Annotation("SOME_CODE") +
		"deny contains {\"reason\": \"r\", \"message\": sprintf(\"limit %d\", [data.limit])}\n", "data.yaml": "limit: 0"}
	torn := opatest.Load(t, snapshot.Source{Name: "torn", FS: &changing{FS: opatest.Files(texts).FS}})
	message := opatest.Verdict(t, torn, opatest.Registering(t, "")).Violations[0].Message
	var limit int
	_, err := fmt.Sscanf(message, "limit %d", &limit)
	require.NoError(t, err)
	texts["data.yaml"] = fmt.Sprintf("limit: %d", limit)
	require.Equal(t, opatest.Load(t, opatest.Files(texts)).Revision(), torn.Revision())
}

func TestSourceWithoutPoliciesIsAnError(t *testing.T) {
	many := make(fstest.MapFS, snapshot.MaxSourceFiles+1)
	for i := range snapshot.MaxSourceFiles + 1 {
		many[fmt.Sprintf("%d.rego", i)] = &fstest.MapFile{Data: []byte("package a")}
	}
	for name, test := range map[string]struct {
		source snapshot.Source
		says   string
	}{
		"an empty directory": {snapshot.Directory(t.TempDir()), "no Rego files"},
		"no directory":       {snapshot.Directory(filepath.Join(t.TempDir(), "none")), "no such file or directory"},
		"other files":        {opatest.AsWritten(map[string]string{"README.md": "x", "a_test.rego": "package a"}), "no Rego files"},
		"too many files":     {snapshot.Source{Name: "/", FS: many}, "policies from /: more than 10000 files"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := snapshot.New(t.Context(), test.source, opatest.Schema(t))
			require.ErrorContains(t, err, test.says)
			_, err = casetest.Run(t.Context(), test.source, fstest.MapFS{}, opatest.Schema(t), casetest.Options{})
			require.ErrorContains(t, err, test.says)
		})
	}
}
