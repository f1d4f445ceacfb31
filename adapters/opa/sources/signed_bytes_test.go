package sources_test

import (
	"io/fs"
	"maps"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/adapters/opa/sources"
	"github.com/molecule-ai/gatehouse/server/ledger"
)

// The test flips each bit of each file, and of each file's name, of a signed bundle. Either the bundle is refused, or its rules,
// its data and what it says of itself are the same. (OPA signs the values of data files and not their bytes, so a comment
// there may change.)
func TestSignedBundlesWithAFlippedBitAreRefusedOrTheSame(t *testing.T) {
	key := newKeyPair(t, "EdDSA")
	archive := build(t, sources.Package{
		Files: map[string][]byte{
			"register/some_rule.rego": []byte(denyAll("signed")),
			"data.yaml":               []byte("# a comment\nlimits: {max: 3} # why\nwords: [true, 'no']\n" + gateless),
			"more/data.json":          []byte("{\"a\": 1.0, \"b\": [true]}\n"),
			"notes.txt":               []byte("# no policies\n"),
		},
		Revision: "v1", Key: key.signing(t),
	})
	trust := sources.Trust{Limits: sources.DefaultLimits, Keys: keysOf(t, key.public)}
	load := func(files map[string][]byte) (ledger.Bundle, string, error) {
		source, err := trust.ReadFiles("x", files)
		if err != nil {
			return ledger.Bundle{}, "", err
		}
		engine := newEngine(t)
		err = engine.Load(t.Context(), source)
		if err != nil {
			return ledger.Bundle{}, "", err
		}
		// The revision digests every module and all data, as they were loaded.
		return *source.Bundle, engine.Status().Snapshot.Revision(), nil
	}
	whole := filesOf(t, archive)
	info, revision, err := load(whole)
	require.NoError(t, err)

	taken := make(map[string]int)
	try := func(what string, files map[string][]byte) {
		changedInfo, changedRevision, err := load(files)
		if err == nil {
			taken[what]++
			require.Equal(t, info, changedInfo, what)
			require.Equal(t, revision, changedRevision, what)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(whole)) {
		flipBits(whole[name], func(changed []byte) {
			files := maps.Clone(whole)
			files[name] = changed
			try(name, files)
		})
		flipBits([]byte(name), func(changed []byte) {
			files := maps.Clone(whole)
			delete(files, name)
			if !fs.ValidPath(string(changed)) {
				return // unpack refuses it
			}
			files[string(changed)] = whole[name]
			try("the name "+name, files)
		})
	}
	require.Zero(t, taken["register/some_rule.rego"], "of rules the bytes are signed")
	require.Zero(t, taken["cases.yaml"])
	require.NotZero(t, taken["data.yaml"], "of data the values are signed, not the comments")
	t.Log(taken)
}

// flipBits gives content once for each of its bits, with that bit flipped.
func flipBits(content []byte, use func(changed []byte)) {
	for i := range content {
		for bit := range 8 {
			changed := slices.Clone(content)
			changed[i] ^= 1 << bit
			use(changed)
		}
	}
}
