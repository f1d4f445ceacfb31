// Package opatest makes policies and inputs for the tests of the engine and its layers.
package opatest

import (
	"context"
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/adapters/opa/snapshot"
	"github.com/molecule-ai/gatehouse/policies"
	"github.com/molecule-ai/gatehouse/server/admission"
	"github.com/molecule-ai/gatehouse/server/admission/decode"
)

// Gateless is data that allows policies without the platform agent's rule.
const Gateless = "allow_weaker: [PLATFORM_AGENT_IDENTITY_GATE]\n"

// Files makes a source of texts by name. It adds Gateless to the data.
func Files(texts map[string]string) snapshot.Source {
	source := AsWritten(texts)
	fsys := source.FS.(fstest.MapFS)
	name, data := "data.yaml", texts["data.yaml"]+"\n"+Gateless // at the end, so that lines stay what they are
	if text, found := texts["data.yml"]; found {
		name, data = "data.yml", text+"\n"+Gateless
	}
	if text, found := texts["data.json"]; found {
		name, data = "data.json", strings.Replace(text, "{", `{"allow_weaker": ["PLATFORM_AGENT_IDENTITY_GATE"], `, 1)
	}
	fsys[name] = &fstest.MapFile{Data: []byte(data)}
	return source
}

// AsWritten makes a source of texts by name.
func AsWritten(texts map[string]string) snapshot.Source {
	fsys := make(fstest.MapFS, len(texts))
	for name, text := range texts {
		fsys[name] = &fstest.MapFile{Data: []byte(text)}
	}
	return snapshot.Source{Name: "test", FS: fsys}
}

// Annotation is the metadata of a rule; custom is further custom metadata beside code, severity and status.
func Annotation(code string, custom ...string) string {
	members := append([]string{"code: " + code, "severity: high", "status: 400"}, custom...)
	return "# METADATA\n# title: A title\n# description: A description.\n# custom: {" + strings.Join(members, ", ") + "}\n"
}

// HookPackage begins a module of the register hook.
const HookPackage = "package admission.register\n\n"

// Hook is a module of the register hook whose only rule has this body.
func Hook(body string, custom ...string) snapshot.Source {
	return Files(map[string]string{"register/some_rule.rego": HookPackage + Annotation("SOME_CODE", custom...) + "deny contains violation if {\n" + body + "\n}\n"})
}

// SomeEntry makes an entry in a rule's body.
const SomeEntry = `violation := {"reason": "r", "message": "m"}`

// Load is a checked snapshot of source.
func Load(t testing.TB, source snapshot.Source) *snapshot.Snapshot {
	t.Helper()
	snapshot, err := snapshot.New(context.Background(), source, Schema(t))
	require.NoError(t, err)
	return snapshot
}

// Registering is the input of a request with these members beside its id.
func Registering(t testing.TB, members string) admission.Input {
	t.Helper()
	return Input(t, "register", `{"workspace": {"id": "01890a5d-ac96-774b-bcce-b302099a8057"`+members+`}}`, Facts(t, ""))
}

// Verdict is what a snapshot says of an input.
func Verdict(t testing.TB, snapshot *snapshot.Snapshot, in admission.Input) admission.Verdict {
	t.Helper()
	got, err := snapshot.Evaluate(t.Context(), in, time.Unix(0, 0))
	require.NoError(t, err)
	return got
}

// Schema is the shipped schema of the input.
func Schema(t testing.TB) []byte {
	t.Helper()
	text, err := fs.ReadFile(policies.FS, "input.schema.json")
	require.NoError(t, err)
	return text
}

// Embedded is a snapshot of the shipped policies.
func Embedded(t testing.TB) *snapshot.Snapshot {
	t.Helper()
	snapshot, err := snapshot.New(context.Background(), snapshot.Source{Name: "embedded", FS: policies.FS}, Schema(t))
	require.NoError(t, err)
	return snapshot
}

// Input is the input of a request to a hook.
func Input(t testing.TB, hook, body string, facts admission.Facts) admission.Input {
	t.Helper()
	review, err := decode.Review(hook, []byte(body), decode.DefaultMaxDepth)
	require.NoError(t, err)
	return admission.NewInput(review, facts, admission.Deployment{})
}

// Facts are those of a stored workspace, "" for none, with the names of its secrets.
func Facts(t testing.TB, workspace string, keys ...string) admission.Facts {
	t.Helper()
	found, err := admission.NewFacts(workspace != "", []byte(workspace), keys, nil)
	require.NoError(t, err)
	return found
}

// PlatformRegister is the request by which the platform agent registers.
const PlatformRegister = `{"workspace": {"id": "01890a5d-ac96-774b-bcce-b302099a8057", "url": "https://agent.example.com"}}`

// Module is a source whose only module, of the register hook, has this text.
func Module(text string) snapshot.Source {
	return Files(map[string]string{"register/some_rule.rego": HookPackage + text})
}

// Deny is an annotated rule with this body.
func Deny(body string) string {
	return Annotation("SOME_CODE") + "deny contains violation if {\n" + body + "\n}\n"
}

// ShippedWith is the shipped policies with some files changed. {file, old, new} replaces a text, {file, text} replaces the whole
// file. An empty text removes the file.
func ShippedWith(t testing.TB, changes ...[]string) snapshot.Source {
	t.Helper()
	fsys := make(fstest.MapFS)
	err := fs.WalkDir(policies.FS, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		text, err := fs.ReadFile(policies.FS, name)
		fsys[name] = &fstest.MapFile{Data: text}
		return err
	})
	require.NoError(t, err)
	for _, change := range changes {
		name := change[0]
		switch {
		case len(change) == 3:
			require.Contains(t, string(fsys[name].Data), change[1], name)
			fsys[name] = &fstest.MapFile{Data: []byte(strings.ReplaceAll(string(fsys[name].Data), change[1], change[2]))}
		case change[1] == "":
			delete(fsys, name)
		default:
			fsys[name] = &fstest.MapFile{Data: []byte(change[1])}
		}
	}
	return snapshot.Source{Name: "mine", FS: fsys}
}

// EveryRuleBut is the text for a hook's package, in place of EveryHook, that uses all rules but one.
func EveryRuleBut(name string) string {
	text, err := fs.ReadFile(policies.FS, "lib/every_hook.rego")
	if err != nil {
		panic(err)
	}
	var asked strings.Builder
	for line := range strings.Lines(string(text)) {
		rule, isRule := strings.CutPrefix(line, "every_hook contains violation if some violation in ")
		if isRule && strings.TrimSpace(rule) != name {
			asked.WriteString("deny contains violation if some violation in lib." + rule)
		}
	}
	return asked.String()
}

// These are files and texts in the shipped policies that tests change.
const (
	GateRule   = "lib/platform_requires_model.rego"
	EveryHook  = "deny contains violation if some violation in lib.every_hook"
	GateInData = "allow_weaker: [PLATFORM_AGENT_IDENTITY_GATE]\n\nenforcement: {}"
)

// PlatformRow is the row of a platform agent, as the default query of facts reads it.
const PlatformRow = `{"kind": "platform", "status": "provisioning", "name": "concierge", "tier": 1, "runtime": "langgraph",
	"role": "concierge", "url": null, "parent_id": null, "workspace_access": "none", "workspace_dir": null,
	"budget_limit": null, "monthly_spend": 0, "delivery_mode": "push"}`

// LoadUnchecked loads policies without the checks that live policies must pass: data may be missing, and the platform agent's
// rule may be weakened.
func LoadUnchecked(t testing.TB, source snapshot.Source) *snapshot.Snapshot {
	t.Helper()
	contents, err := source.Read()
	require.NoError(t, err)
	unchecked, err := contents.Unchecked(context.Background(), Schema(t))
	require.NoError(t, err)
	return unchecked
}
