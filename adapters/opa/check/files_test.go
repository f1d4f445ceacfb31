package check_test

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/adapters/opa/check"
)

func folder(names ...string) fstest.MapFS {
	fsys := fstest.MapFS{"register/rule.rego": {Data: []byte("package a")}}
	for _, name := range names {
		fsys[name] = &fstest.MapFile{Data: []byte("text of " + name)}
	}
	return fsys
}

func names(files check.Files) []string { return slices.Sorted(maps.Keys(files.All())) }

// Every file of a folder is read, refused by name, or listed as left aside. Only names that everyone expects to be left out
// are not mentioned.
func TestReadLeavesNoFileOutInSilence(t *testing.T) {
	for _, name := range []string{
		"x.rego", "x_test.rego", "a/b/x.rego", "data.yaml", "a/data.yml", "a/data.json", "cases/a.yaml", "cases/a.yml", "a_test.yaml", "limits.yaml",
	} {
		files, err := check.Read(folder(name), check.Limits{})
		require.NoError(t, err, name)
		require.Contains(t, names(files), name)
		require.Empty(t, files.Aside, name)
	}
	for name, says := range map[string]string{
		".extra/x.rego":          ".extra: is hidden, so x.rego in it would not be loaded",
		"a/.extra/b/data.yaml":   "a/.extra: is hidden, so data.yaml in it would not be loaded",
		".old/x_test.rego":       ".old: is hidden",
		"._x.rego":               "._x.rego: is hidden, so it would not be loaded",
		".x.rego":                ".x.rego: is hidden",
		"a/.data.yaml":           "a/.data.yaml: is hidden",
		"._data.json":            "._data.json: is hidden",
		"..x.rego":               "..x.rego: is hidden",
		"..2026/x.rego":          "..2026: is hidden",
		"x.REGO":                 "x.REGO: would not be loaded: its name is to be x.rego",
		"X_Test.Rego":            "X_Test.Rego: would not be loaded",
		"Data.yaml":              "Data.yaml: would not be loaded: its name is to be data.yaml",
		"data.YAML":              "data.YAML: would not be loaded",
		"cases/a.YML":            "cases/a.YML: would not be loaded",
		"x.rego.bak":             "x.rego.bak: would not be loaded: the name of a file with rules ends in .rego",
		"x.rego.txt":             "x.rego.txt: would not be loaded",
		"x.rego.disabled":        "x.rego.disabled: would not be loaded",
		"data.yaml.bak":          "data.yaml.bak: would not be loaded: data is in files called",
		"data.toml":              "data.toml: would not be loaded: data is in files called",
		"data":                   "data: would not be loaded",
		"cases/a.json":           "cases/a.json: would not be loaded: data is in files called data.json or data.yaml, and case files are YAML",
		"limits.json":            "limits.json: would not be loaded",
		"register/rule.rego.rej": "register/rule.rego.rej: would not be loaded",
	} {
		_, err := check.Read(folder(name), check.Limits{})
		var refused *check.Refused
		require.ErrorAs(t, err, &refused, name)
		require.ErrorContains(t, err, says)
	}
	for _, name := range []string{"notes.txt", "Makefile", "x.rego~", ".x.rego.swp", ".prettierrc.yaml", "rego", "policy.wasm"} {
		files, err := check.Read(folder(name), check.Limits{})
		require.NoError(t, err, name)
		require.Equal(t, []string{name}, files.Aside)
		require.NotContains(t, names(files), name)
	}
	for _, name := range []string{
		"README.md", "LICENSE", "input.schema.json", "kustomization.yaml", ".git/hooks/x.rego", ".regal/config.yaml", ".regal/rules/x.rego", ".gitignore",
		".github/workflows/data.yaml", "..2026_04_01_12_00_00.123/register/rule.rego", "..data/x.rego", ".#x.rego", ".manifest", ".signatures.json",
	} {
		files, err := check.Read(folder(name), check.Limits{})
		require.NoError(t, err, name)
		require.Empty(t, files.Aside, name)
		require.NotContains(t, names(files), name)
	}
}

// Everything that is wrong is named at once.
func TestReadNamesAllThatItRefuses(t *testing.T) {
	_, err := check.Read(folder("x.REGO", ".extra/x.rego", "data.yaml", "data.yml"), check.Limits{})
	for _, says := range []string{"x.REGO: ", ".extra: ", "data.yml: is data of the same place as data.yaml"} {
		require.ErrorContains(t, err, says)
	}
}

// saved makes a folder of files and links. A file maps to its text, a link to "->" and its target.
func saved(t *testing.T, entries map[string]string) string {
	t.Helper()
	place := t.TempDir()
	for name, text := range entries {
		path := filepath.Join(place, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		if len(text) > 2 && text[:2] == "->" {
			require.NoError(t, os.Symlink(text[2:], path))
			continue
		}
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	}
	return place
}

// Links to files and to folders are followed, as Kubernetes makes them of a ConfigMap whose items have paths.
func TestLinksInsideAreFollowed(t *testing.T) {
	place := saved(t, map[string]string{
		"..2026_04_01_00/lib/x.rego":         "package x",
		"..2026_04_01_00/register/rule.rego": "package a",
		"..2026_04_01_00/data.yaml":          "a: 1",
		"..data":                             "->..2026_04_01_00",
		"lib":                                "->..data/lib",
		"register":                           "->..data/register",
		"data.yaml":                          "->..data/data.yaml",
		".gatehouse/shared/y.rego":           "package y",
		"deep/er/shared":                     "->../../.gatehouse/shared",
	})
	files, err := check.Read(os.DirFS(place), check.Limits{})
	require.NoError(t, err)
	require.Equal(t, []string{"data.yaml", "deep/er/shared/y.rego", "lib/x.rego", "register/rule.rego"}, names(files))
	require.Equal(t, "package x", string(files.Policies["lib/x.rego"]))
	require.Empty(t, files.Aside)
}

// A folder that is reached by its name and by a link would be loaded twice. Every violation would come twice.
func TestLinksToFilesThatAreReadAnywayAreRefused(t *testing.T) {
	place := saved(t, map[string]string{"heartbeat/x.rego": "package x", "sub": "->heartbeat", "y.rego": "->heartbeat/x.rego"})
	_, err := check.Read(os.DirFS(place), check.Limits{})
	require.ErrorContains(t, err, "sub/x.rego: is the same file as heartbeat/x.rego, by a link: it would count twice")
	require.ErrorContains(t, err, "y.rego: is the same file as heartbeat/x.rego")
}

// A link that cannot be followed, or that leads out of the folder, is refused by name, whatever it is called.
func TestLinksThatLeadElsewhereAreRefused(t *testing.T) {
	outside := saved(t, map[string]string{"x.rego": "package x"})
	for target, says := range map[string]string{
		"../heartbeat":  "heartbeat: is a link that leads out of the folder of policies",
		outside:         "heartbeat: is a link to " + outside + ": links must be relative",
		"nowhere":       "heartbeat: is a link that leads nowhere: there is no nowhere",
		"heartbeat":     "heartbeat: is a link that leads round in a circle",
		".":             "heartbeat: is a link to a folder that it lies in itself",
		"register/..":   "heartbeat: is a link to a folder that it lies in itself",
		"out/x.rego":    "heartbeat: is a link to " + outside,
		"register/up/a": "heartbeat: is a link that leads out of the folder of policies",
	} {
		place := saved(t, map[string]string{
			"register/rule.rego": "package a", "register/up": "->../..", "out": "->" + outside, "heartbeat": "->" + target,
		})
		_, err := check.Read(os.DirFS(place), check.Limits{})
		require.ErrorContains(t, err, says, target)
	}
}

// A folder is bounded by the number and the bytes of its files.
func TestReadBoundsAFolder(t *testing.T) {
	_, err := check.Read(folder("a.rego", "b.yaml"), check.Limits{Files: 2})
	require.EqualError(t, err, "more than 2 files")
	_, err = check.Read(folder("a.rego", "b.yaml"), check.Limits{Bytes: 20})
	require.EqualError(t, err, "more than 20 bytes of policies and data")
}
