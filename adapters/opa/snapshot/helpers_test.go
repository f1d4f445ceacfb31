package snapshot_test

import (
	"context"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/molecule-ai/gatehouse/adapters/opa/snapshot"
	"github.com/molecule-ai/gatehouse/server/admission"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// gateless says that policies go without the platform agent's rule on purpose.
const gateless = "allow_weaker: [PLATFORM_AGENT_IDENTITY_GATE]\n"

// files makes a source of texts by name, whose data says that the platform agent's rule is not among them.
func files(texts map[string]string) snapshot.Source {
	source := asWritten(texts)
	fsys := source.FS.(fstest.MapFS)
	name, data := "data.yaml", texts["data.yaml"]+"\n"+gateless // at the end, so that lines stay what they are
	if text, found := texts["data.yml"]; found {
		name, data = "data.yml", text+"\n"+gateless
	}
	if text, found := texts["data.json"]; found {
		name, data = "data.json", strings.Replace(text, "{", `{"allow_weaker": ["PLATFORM_AGENT_IDENTITY_GATE"], `, 1)
	}
	fsys[name] = &fstest.MapFile{Data: []byte(data)}
	return source
}

// asWritten makes a source of texts by name.
func asWritten(texts map[string]string) snapshot.Source {
	fsys := make(fstest.MapFS, len(texts))
	for name, text := range texts {
		fsys[name] = &fstest.MapFile{Data: []byte(text)}
	}
	return snapshot.Source{Name: "test", FS: fsys}
}

// annotation is the metadata of a rule; custom is further custom metadata beside code, severity and status.
func annotation(code string, custom ...string) string {
	members := append([]string{"code: " + code, "severity: high", "status: 400"}, custom...)
	return "# METADATA\n# title: A title\n# description: A description.\n# custom: {" + strings.Join(members, ", ") + "}\n"
}

const hookPackage = "package admission.register\n\n"

// hook is a module of the register hook whose only rule has this body.
func hook(body string, custom ...string) snapshot.Source {
	return files(map[string]string{"register/some_rule.rego": hookPackage + annotation("SOME_CODE", custom...) + "deny contains violation if {\n" + body + "\n}\n"})
}

const someEntry = `violation := {"reason": "r", "message": "m"}`

func load(t testing.TB, source snapshot.Source) *snapshot.Snapshot {
	t.Helper()
	snapshot, err := snapshot.New(context.Background(), source, schema(t))
	require.NoError(t, err)
	return snapshot
}

// loadUnchecked loads policies that may name data that is not there.
func loadUnchecked(t testing.TB, source snapshot.Source) *snapshot.Snapshot {
	t.Helper()
	snapshot, err := snapshot.NewUnchecked(context.Background(), source, schema(t))
	require.NoError(t, err)
	return snapshot
}

// registering is the input of a request with these members beside its id.
func registering(t testing.TB, members string) admission.Input {
	t.Helper()
	return input(t, "register", `{"workspace": {"id": "01890a5d-ac96-774b-bcce-b302099a8057"`+members+`}}`, facts(t, ""))
}

func verdict(t testing.TB, snapshot *snapshot.Snapshot, in admission.Input) admission.Verdict {
	t.Helper()
	got, err := snapshot.Evaluate(t.Context(), in, time.Unix(0, 0))
	require.NoError(t, err)
	return got
}
