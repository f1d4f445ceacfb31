package snapshot_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/adapters/opa/opatest"
	"github.com/molecule-ai/gatehouse/adapters/opa/regoval"
	"github.com/molecule-ai/gatehouse/adapters/opa/snapshot"
	"github.com/molecule-ai/gatehouse/policies"
	"github.com/molecule-ai/gatehouse/server/admission"
)

const someBeat = `{"workspace": {"id": "01890a5d-ac96-774b-bcce-b302099a8057", "from_status": "offline", "to_status": "online"}}`

// typical are the decisions that are measured.
func typical(t testing.TB) map[string]admission.Input {
	t.Helper()
	return map[string]admission.Input{
		"hook=register/allow":  opatest.Input(t, "register", opatest.PlatformRegister, opatest.Facts(t, opatest.PlatformRow, "MODEL")),
		"hook=register/deny":   opatest.Input(t, "register", opatest.PlatformRegister, opatest.Facts(t, opatest.PlatformRow)),
		"hook=heartbeat/allow": opatest.Input(t, "heartbeat", someBeat, opatest.Facts(t, opatest.PlatformRow, "MODEL")),
		"hook=heartbeat/deny":  opatest.Input(t, "heartbeat", someBeat, opatest.Facts(t, opatest.PlatformRow)),
	}
}

func BenchmarkEvaluate(b *testing.B) {
	snapshot := opatest.Embedded(b)
	for name, in := range typical(b) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_, err := snapshot.Evaluate(b.Context(), in, time.Unix(0, 0))
				require.NoError(b, err)
			}
		})
	}
}

// BenchmarkEvaluateAsWritten measures OPA's evaluation of the rules as they are written, as in explanations and coverage.
func BenchmarkEvaluateAsWritten(b *testing.B) {
	snapshot := opatest.Embedded(b)
	for name, in := range typical(b) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_, err := snapshot.EvaluateWatched(b.Context(), in, time.Unix(0, 0))
				require.NoError(b, err)
			}
		})
	}
}

// BenchmarkInput measures building the input as OPA's values. Only decisions that OPA evaluates need it.
func BenchmarkInput(b *testing.B) {
	in := typical(b)["hook=register/allow"]
	b.ReportAllocs()
	for b.Loop() {
		_, err := regoval.Input(in)
		require.NoError(b, err)
	}
}

// BenchmarkRules has one hook of many rules, each guarded by an equality. One of them holds.
func BenchmarkRules(b *testing.B) {
	for _, count := range []int{10, 100, 1000, 10000} {
		snapshot := opatest.Load(b, manyRules(count))
		for name, tier := range map[string]int{"allow": count, "deny": count / 2} {
			in := opatest.Registering(b, fmt.Sprintf(`, "tier": %d`, tier))
			b.Run(fmt.Sprintf("rules=%d/%s", count, name), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					_, err := snapshot.Evaluate(b.Context(), in, time.Unix(0, 0))
					require.NoError(b, err)
				}
			})
		}
	}
}

func manyRules(count int) snapshot.Source {
	var text strings.Builder
	text.WriteString(opatest.HookPackage)
	for i := range count {
		text.WriteString(opatest.Annotation("SOME_CODE"))
		fmt.Fprintf(&text, "deny contains violation if {\n\tinput.request.tier == %d\n\tnot input.request.kind == \"platform\"\n\t%s\n}\n\n", i, opatest.SomeEntry)
	}
	return opatest.Files(map[string]string{"register/some_rule.rego": text.String()})
}

func BenchmarkNewSnapshot(b *testing.B) {
	text := opatest.Schema(b)
	b.ReportAllocs()
	for b.Loop() {
		_, err := snapshot.New(b.Context(), snapshot.Source{Name: "embedded", FS: policies.FS}, text)
		require.NoError(b, err)
	}
}
