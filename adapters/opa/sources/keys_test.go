package sources_test

import (
	"context"
	"encoding/base64"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/adapters/opa"
	"github.com/molecule-ai/gatehouse/adapters/opa/sources"
	"github.com/molecule-ai/gatehouse/server/ledger"
)

func encoded(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }

// recorder keeps what it hears.
type recorder struct {
	mu                 sync.Mutex
	activated, refused []opa.Activation
}

func (r *recorder) Record(_ context.Context, activation opa.Activation) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if activation.Activated {
		r.activated = append(r.activated, activation)
	} else {
		r.refused = append(r.refused, activation)
	}
}

func TestEveryKindOfKeySignsAndVerifies(t *testing.T) {
	for _, kind := range []string{"RS256", "ES256", "ES384", "ES512", "EdDSA"} {
		t.Run(kind, func(t *testing.T) {
			key := newKeyPair(t, kind)
			archive := build(t, sources.Package{Files: module(denyAll("a")), Revision: "v1", Key: key.signing(t)})
			trust := sources.Trust{Limits: sources.DefaultLimits, Keys: keysOf(t, key.public)}
			source, err := trust.ReadBundle("x", archive)
			require.NoError(t, err)
			require.Equal(t, ledger.Bundle{Revision: "v1", BuiltAt: buildDay, SignedBy: key.key(t).Fingerprint}, *source.Bundle)

			trust.Keys = keysOf(t, newKeyPair(t, kind).public)
			_, err = trust.ReadBundle("x", archive)
			require.ErrorContains(t, err, "the bundle's signature ("+kind+") is by none of the configured keys ("+trust.Keys.Now()[0].Fingerprint+")")
		})
	}
}

func TestKeysRotateWithoutAGap(t *testing.T) {
	old, next := newKeyPair(t, "RS256"), newKeyPair(t, "EdDSA")
	both := filepath.Join(t.TempDir(), "keys.pem")
	require.NoError(t, os.WriteFile(both, []byte(old.public+next.public), 0o600))
	for name, texts := range map[string][]string{"two": {old.public, next.public}, "a file": {both}} {
		trust := sources.Trust{Limits: sources.DefaultLimits, Keys: keysOf(t, texts...)}
		for _, key := range []keyPair{old, next} {
			source, err := trust.ReadBundle("x", build(t, sources.Package{Files: module(denyAll("a")), Key: key.signing(t)}))
			require.NoError(t, err, name)
			require.Equal(t, key.key(t).Fingerprint, source.Bundle.SignedBy)
		}
	}
}

func TestReadKeysRefusesOtherThanPublicKeys(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "secret")
	require.NoError(t, os.WriteFile(secret, []byte("hunter2"), 0o600))
	for text, says := range map[string]string{
		"hunter2":                         "neither PEM nor a file",
		secret:                            "no PEM in it; keys are RSA, ECDSA or Ed25519, and never a shared secret",
		newKeyPair(t, "ES256").private:    "a PRIVATE KEY is no public key",
		asPEM("PUBLIC KEY", []byte("x")):  "key: ",
		asPEM("CERTIFICATE", []byte("x")): "key: ",
	} {
		_, err := sources.ReadKeys([]string{text}, nil)
		require.ErrorContains(t, err, says)
		require.NotContains(t, err.Error(), "hunter2")
	}
	_, err := sources.ReadSigningKey(newKeyPair(t, "ES256").public)
	require.ErrorContains(t, err, "signing key: unsupported key type: PUBLIC KEY")
}

func TestSignSignsAgainAndKeepsTheTime(t *testing.T) {
	key := newKeyPair(t, "ES256")
	trust := sources.Trust{Limits: sources.DefaultLimits}
	now := buildDay.Add(time.Hour)
	for name, test := range map[string]struct {
		archive []byte
		at      time.Time
	}{
		"a dated one":   {build(t, sources.Package{Files: module(denyAll("a"))}), buildDay},
		"an opa bundle": {packed(t, map[string][]byte{"a.rego": []byte(denyAll("a")), ".manifest": []byte(`{"revision":"x"}`)}), now},
		"no manifest":   {packed(t, map[string][]byte{"a.rego": []byte(denyAll("a"))}), now},
	} {
		t.Run(name, func(t *testing.T) {
			var signed writer
			require.NoError(t, trust.Sign(&signed, test.archive, *key.signing(t), now))
			source, err := sources.Trust{Limits: sources.DefaultLimits, Keys: keysOf(t, key.public)}.ReadBundle("x", signed)
			require.NoError(t, err)
			require.Equal(t, test.at, source.Bundle.BuiltAt)
			seen, err := trust.Inspect(signed)
			require.NoError(t, err)
			require.True(t, seen.Signed)
			require.Equal(t, key.key(t).Fingerprint, seen.Key)
			require.Equal(t, test.at, *seen.BuiltAt)
		})
	}
}

type writer []byte

func (w *writer) Write(p []byte) (int, error) {
	*w = append(*w, p...)
	return len(p), nil
}
