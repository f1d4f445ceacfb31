package sources_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/adapters/opa/sources"
)

// testArchive is one of testdata/archives.
func testArchive(t testing.TB, name string) []byte {
	t.Helper()
	archive, err := os.ReadFile(filepath.Join("testdata/archives", name+".tar.gz"))
	require.NoError(t, err)
	return archive
}

// What git archive, GNU tar and bsdtar make of a folder of policies is taken, with its data in its place.
func TestArchivesOfGitAndTarAreTaken(t *testing.T) {
	for _, name := range []string{"git-archive", "gnu-tar", "gnu-tar-pax", "bsdtar", "bsdtar-pax"} {
		t.Run(name, func(t *testing.T) {
			source, err := sources.Trust{Limits: sources.DefaultLimits}.ReadBundle(name, testArchive(t, name))
			require.NoError(t, err)
			engine := newEngine(t)
			require.NoError(t, engine.Load(t.Context(), withoutGate(t, source)))
			require.Equal(t, []string{"from-data"}, reasons(t, engine))
		})
	}
}

// In the archive of a real program, anything but a regular file is refused by name.
func TestArchivesWithMoreThanFilesAreRefused(t *testing.T) {
	for name, says := range map[string]string{
		"symlink":            `"./register/link.rego", which is no regular file but a link to "some_rule.rego"`,
		"hardlink":           `"./register/z_link.rego", which is no regular file but a link to "./register/some_rule.rego"`,
		"fifo":               `"./fifo", which is no regular file`,
		"device":             `"./null", which is no regular file`,
		"sparse":             `"./sparse.bin", which is no regular file`,
		"git-archive-prefix": `all of the bundle lies in the folder "policies-1.0", so policies-1.0/data.yaml would not be data of its own place`,
	} {
		_, err := sources.Trust{Limits: sources.DefaultLimits}.ReadBundle(name, testArchive(t, name))
		require.ErrorContains(t, err, says, name)
	}
}

// A folder around policies without data does not change their meaning.
func TestArchiveOfAFolderWithoutDataIsTaken(t *testing.T) {
	source, err := sources.Trust{Limits: sources.DefaultLimits}.ReadBundle("x", entries(t,
		tar.Header{Typeflag: tar.TypeDir, Name: "policies/", Mode: 0o755}, entry("policies/register/a.rego", denyAll("a"))))
	require.NoError(t, err)
	engine := newEngine(t)
	require.NoError(t, engine.Load(t.Context(), withoutGate(t, source)))
	require.Equal(t, []string{"a"}, reasons(t, engine))
}

// Anything after the end of an archive would be ignored in silence. It is refused, unless it is padding.
func TestArchivesThatGoOnAfterTheirEndAreRefused(t *testing.T) {
	whole, other := testArchive(t, "git-archive"), entries(t, entry("heartbeat/b.rego", denyAll("b")))
	plain, err := gzip.NewReader(bytes.NewReader(whole))
	require.NoError(t, err)
	unzipped, err := io.ReadAll(plain)
	require.NoError(t, err)
	zip := func(parts ...[]byte) []byte {
		var zipped bytes.Buffer
		for _, part := range parts {
			writer := gzip.NewWriter(&zipped)
			_, err := writer.Write(part)
			require.NoError(t, err)
			require.NoError(t, writer.Close())
		}
		return zipped.Bytes()
	}
	broken := bytes.Clone(whole)
	broken[len(broken)-6] ^= 1 // of the checksum

	for name, test := range map[string]struct {
		archive []byte
		says    string // "" where it is taken
	}{
		"two archives":                     {append(bytes.Clone(whole), other...), "goes on after the end of its archive"},
		"garbage in the compressed data":   {zip(append(bytes.Clone(unzipped), "garbage"...)), "goes on after the end of its archive"},
		"garbage after it":                 {append(bytes.Clone(whole), "garbage"...), "after the end of the bundle's archive"},
		"a wrong checksum":                 {broken, "invalid checksum"},
		"more padding":                     {zip(append(bytes.Clone(unzipped), make([]byte, 64<<10)...)), ""},
		"one archive in members of pigz":   {zip(unzipped[:700], unzipped[700:1500], unzipped[1500:]), ""},
		"one archive and an empty member":  {zip(unzipped, nil), ""},
		"endless padding":                  {zip(append(bytes.Clone(unzipped), make([]byte, 64<<20)...)), "more than 33554432 bytes"},
		"no end, as of a tar that died":    {zip(unzipped[:2048]), "the bundle's archive has no end: was it cut?"},
		"half an end":                      {zip(unzipped[:4096]), "the bundle's archive has no end"},
		"an end in the middle of an entry": {zip(unzipped[:1500]), "unexpected EOF"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := sources.Trust{Limits: sources.DefaultLimits}.ReadBundle(name, test.archive)
			if test.says == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, test.says)
		})
	}
}

// Of two files with one name only one would be found.
func TestArchivesWithOneNameTwiceAreRefused(t *testing.T) {
	rule := denyAll("a")
	for says, archive := range map[string][]byte{
		`the bundle holds "a.rego" twice`:                        entries(t, entry("a.rego", rule), entry("./a.rego", allowAll)),
		`the bundle holds "data.json" twice`:                     entries(t, entry("data.json", "{}"), entry("/data.json", `{"a": 1}`)),
		`the bundle holds "register" as a file and as a folder`:  entries(t, entry("register", "x"), entry("register/a.rego", rule)),
		`the bundle holds "a/b" as a file and as a folder`:       entries(t, entry("a/b/c/d.rego", rule), entry("a/b", "x")),
		`a global header that sets "path", which is not support`: entries(t, globalHeader("path", "b.rego"), entry("a.rego", rule)),
		`whose path leads out of it`:                             entries(t, entry("//a.rego", rule)),
		`a file ".", whose path leads out of it`:                 entries(t, entry(".", rule)),
		`a file "/.", whose path leads out of it`:                entries(t, entry("/.", rule)),
		`a file "..", whose path leads out of it`:                entries(t, entry("..", rule)),
		`a file "a\\b.rego", whose path leads out of it`:         entries(t, entry(`a\b.rego`, rule)),
	} {
		_, err := sources.Trust{Limits: sources.DefaultLimits}.ReadBundle("x", archive)
		require.ErrorContains(t, err, says)
	}
}

func globalHeader(key, value string) tar.Header {
	return tar.Header{Typeflag: tar.TypeXGlobalHeader, Name: "pax_global_header", PAXRecords: map[string]string{key: value}}
}
