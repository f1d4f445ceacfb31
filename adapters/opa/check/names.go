package check

import (
	"path"
	"regexp"
	"strings"
)

// kind is what a file is for, by its name.
type kind int

const (
	unknown kind = iota // it looks like policies or data, and would not be read
	ignored             // everyone expects it to be left out
	aside               // it has nothing to do with policies
	policy
	data
	test
	cases
)

// expected are hidden names that programs put beside policies. The content of these folders belongs to those programs.
var expected = map[string]bool{
	".DS_Store": true, ".devcontainer": true, ".editorconfig": true, ".gatehouse": true, ".git": true, ".gitattributes": true,
	".github": true, ".gitignore": true, ".gitkeep": true, ".gitlab": true, ".gitlab-ci.yml": true, ".gitmodules": true,
	".idea": true, ".manifest": true, ".opa": true, ".pre-commit-config.yaml": true, ".regal": true, ".regal.yaml": true,
	".signatures.json": true, ".vscode": true, ".yamllint": true, ".yamllint.yaml": true, ".zed": true,
}

// mounted is what Kubernetes puts into a mounted ConfigMap: the files themselves lie below ..2026_04_01_…, ..data is a
// link to that, and the names that count are links into ..data.
var mounted = regexp.MustCompile(`^\.\.(data|data_tmp|\d{4}_\d{2}_\d{2}.*)$`)

// isExpected says whether a hidden file or folder is left out without a remark. Emacs makes a link .#x.rego, which leads
// nowhere, while it edits x.rego.
func isExpected(base string) bool {
	return expected[base] || mounted.MatchString(base) || strings.HasPrefix(base, ".#")
}

func isHidden(name string) bool {
	base := path.Base(name)
	return strings.HasPrefix(base, ".") && base != "."
}

// kindOf gives the kind of a file, and why it is refused where it is unknown.
func kindOf(base string) (kind, string) {
	if isHidden(base) {
		if isPolicy(strings.TrimLeft(base, "._")) {
			return unknown, "is hidden, so it would not be loaded"
		}
		return aside, "" // settings of other programs, in YAML too
	}
	lower := strings.ToLower(base)
	found, meant := exactKind(base), exactKind(lower)
	if found == ignored || found != unknown && (found == meant || meant == ignored) {
		return found, ""
	}
	switch {
	case isPolicy(base), meant == cases:
		return unknown, "would not be loaded: its name is to be " + lower
	case path.Ext(lower) == ".json":
		return unknown, "would not be loaded: data is in files called data.json or data.yaml, and case files are YAML"
	case strings.HasSuffix(base, "~"):
		return aside, "" // an editor's copy of the file before
	case strings.TrimSuffix(lower, path.Ext(lower)) == "data", strings.HasPrefix(lower, "data.y"), strings.HasPrefix(lower, "data.json"):
		return unknown, "would not be loaded: data is in files called data.yaml, data.yml or data.json"
	case strings.Contains(lower, ".rego"):
		return unknown, "would not be loaded: the name of a file with rules ends in .rego"
	default:
		return aside, ""
	}
}

// exactKind is the kind of a name as it has to be spelt.
func exactKind(base string) kind {
	switch base {
	case "data.yaml", "data.yml", "data.json":
		return data
	case "README", "LICENSE", "NOTICE", "CHANGELOG", "CODEOWNERS", "OWNERS", "kustomization.yaml", "kustomization.yml":
		return ignored
	}
	switch ext := path.Ext(base); {
	case strings.HasSuffix(base, "_test.rego"):
		return test
	case ext == ".rego":
		return policy
	case ext == ".yaml", ext == ".yml":
		return cases
	case ext == ".md", ext == ".go", strings.HasSuffix(base, ".schema.json"):
		return ignored
	default:
		return unknown
	}
}

// isPolicy says whether a file has the name of a file with rules, data or Rego tests. Capital letters do not count.
func isPolicy(base string) bool {
	found := exactKind(strings.ToLower(base))
	return found == policy || found == data || found == test
}
