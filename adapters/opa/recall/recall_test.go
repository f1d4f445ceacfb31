package recall_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io/fs"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/adapters/opa"
	"github.com/molecule-ai/gatehouse/adapters/opa/recall"
	"github.com/molecule-ai/gatehouse/adapters/opa/sources"
	"github.com/molecule-ai/gatehouse/policies"
	"github.com/molecule-ai/gatehouse/server/ledger"
)

// lateHistory answers at the second call.
type lateHistory struct {
	asked int
	last  *ledger.Bundle
}

func (h *lateHistory) LastSigned(context.Context) (*ledger.Bundle, error) {
	h.asked++
	if h.asked == 1 {
		return nil, errors.New("away")
	}
	return h.last, nil
}

// The history is away at the start. Signed policies decide nothing until it says what was live last. Then they are live, or
// refused.
func TestRecallAsksUntilTheHistoryAnswers(t *testing.T) {
	for name, test := range map[string]struct {
		last    *ledger.Bundle
		refused bool
	}{
		"nothing was live": {nil, false},
		"an older one was": {&ledger.Bundle{Revision: "q", BuiltAt: time.Now().Add(-time.Hour), SignedBy: "k"}, false},
		"a newer one was":  {&ledger.Bundle{Revision: "s", BuiltAt: time.Now().Add(time.Hour), SignedBy: "k"}, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			engine := waitingEngine(t)
			recalled := recall.New(engine, &lateHistory{last: test.last}, slog.New(slog.DiscardHandler))

			require.NoError(t, recalled.First(t.Context()))
			require.NotNil(t, engine.Status().Waiting)
			recalled.Run(t.Context())

			require.Nil(t, engine.Status().Waiting)
			if test.refused {
				require.Nil(t, engine.Current())
				require.ErrorContains(t, engine.Status().Refused.Err, "rollback")
				return
			}
			require.NotNil(t, engine.Current())
		})
	}
}

// A history that answers at once refuses an older bundle at the start.
func TestRecallRefusesAnOlderBundleAtOnce(t *testing.T) {
	newer := &ledger.Bundle{Revision: "s", BuiltAt: time.Now().Add(time.Hour), SignedBy: "k"}
	recalled := recall.New(waitingEngine(t), &lateHistory{asked: 1, last: newer}, slog.New(slog.DiscardHandler))
	require.ErrorContains(t, recalled.First(t.Context()), "rollback")
	recalled.Run(t.Context()) // has nothing to ask, and ends
}

// waitingEngine has a signed bundle that waits for its history.
func waitingEngine(t *testing.T) *opa.Engine {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	require.NoError(t, err)
	open, err := x509.MarshalPKIXPublicKey(public)
	require.NoError(t, err)
	key, err := sources.ReadSigningKey(string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret})))
	require.NoError(t, err)
	keys, err := sources.ReadKeys([]string{string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: open}))}, nil)
	require.NoError(t, err)

	pack := sources.Package{Files: make(map[string][]byte), Revision: "r", BuiltAt: time.Now(), Key: &key}
	require.NoError(t, fs.WalkDir(policies.FS, ".", func(name string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() && name != "input.schema.json" {
			pack.Files[name], err = fs.ReadFile(policies.FS, name)
		}
		return err
	}))
	var archive bytes.Buffer
	require.NoError(t, pack.Build(&archive))
	source, err := sources.Trust{Limits: sources.DefaultLimits, Keys: keys}.ReadBundle("r.tar.gz", archive.Bytes())
	require.NoError(t, err)
	schema, err := fs.ReadFile(policies.FS, "input.schema.json")
	require.NoError(t, err)
	engine := opa.NewEngine(schema, time.Now, opa.Options{AwaitHistory: true})
	require.NoError(t, engine.Load(t.Context(), source))
	return engine
}
