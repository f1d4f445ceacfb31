package decode_test

import (
	"encoding/hex"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/molecule-ai/gatehouse/server/admission/decode"
)

// postgresUUID is string_to_uuid of Postgres (src/backend/utils/adt/uuid.c), line by line.
func postgresUUID(source string) (uuid.UUID, bool) {
	at := func(i int) byte {
		if i < len(source) {
			return source[i]
		}
		return 0
	}
	var id uuid.UUID
	src, braces := 0, false
	if at(0) == '{' {
		src, braces = 1, true
	}
	for i := range id {
		if at(src) == 0 || at(src+1) == 0 {
			return uuid.Nil, false
		}
		_, err := hex.Decode(id[i:i+1], []byte(source[src:src+2]))
		if err != nil {
			return uuid.Nil, false
		}
		src += 2
		if at(src) == '-' && i%2 == 1 && i < len(id)-1 {
			src++
		}
	}
	if braces {
		if at(src) != '}' {
			return uuid.Nil, false
		}
		src++
	}
	return id, src == len(source)
}

func TestParseWorkspaceIDReadsAsPostgres(t *testing.T) {
	plain := strings.ReplaceAll(workspaceID, "-", "")
	for text, valid := range map[string]bool{
		workspaceID:             true,
		plain:                   true,
		"{" + plain + "}":       true,
		"{" + workspaceID + "}": true,
		"0189-0a5d-ac96-774b-bcce-b302-099a-8057": true,
		"0189-0a5dac96774bbcceb302099a8057":       true,
		"":                                        false,
		"{}":                                      false,
		"{" + workspaceID:                         false,
		workspaceID + "}":                         false,
		"{{" + workspaceID + "}}":                 false,
		"{" + workspaceID + "}}":                  false,
		"{" + workspaceID + "} ":                  false,
		" " + workspaceID:                         false,
		workspaceID + "\n":                        false,
		workspaceID + "-":                         false,
		"-" + workspaceID:                         false,
		"{-" + plain + "}":                        false,
		"{" + plain + "-}":                        false,
		"01-890a5dac96774bbcceb302099a8057":       false,
		"01890-a5dac96774bbcceb302099a8057":       false,
		"01890a5d--ac96-774b-bcce-b302099a8057":   false,
		plain[1:]:                                 false,
		plain + "0":                               false,
		plain[:31] + "g":                          false,
		plain[:30] + "é":                          false,
		"0x" + plain[2:]:                          false,
		"urn:uuid:" + workspaceID:                 false,
		strings.Repeat("0", 10_000):               false,
		strings.Repeat("-", 32):                   false,
	} {
		got, err := decode.ParseWorkspaceID(text)
		if !valid {
			require.EqualError(t, err, "workspace.id is not a UUID", "%q", text)
			require.Equal(t, uuid.Nil, got)
			continue
		}
		require.NoError(t, err, "%q", text)
		require.Equal(t, workspaceID, got.String(), "%q", text)
	}
}

func TestParseWorkspaceIDAcceptsEverySpelling(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		id := uuid.UUID(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "id"))
		var text strings.Builder
		for i, digit := range hex.EncodeToString(id[:]) {
			if i > 0 && i%4 == 0 && rapid.Bool().Draw(t, "hyphen") {
				text.WriteByte('-')
			}
			spelt := string(digit)
			if rapid.Bool().Draw(t, "upper") {
				spelt = strings.ToUpper(spelt)
			}
			text.WriteString(spelt)
		}
		spelling := text.String()
		if rapid.Bool().Draw(t, "braces") {
			spelling = "{" + spelling + "}"
		}
		got, err := decode.ParseWorkspaceID(spelling)
		require.NoError(t, err)
		require.Equal(t, id, got)
	})
}

// A spelling with a few faults is accepted exactly where Postgres accepts it, and as the same id.
func TestParseWorkspaceIDAcceptsWhatPostgresAccepts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.SampledFrom([]string{
			workspaceID, strings.ToUpper(workspaceID), "{" + workspaceID + "}", strings.ReplaceAll(workspaceID, "-", ""),
			"0189-0a5d-ac96-774b-bcce-b302-099a-8057",
		}).Draw(t, "text")
		for range rapid.IntRange(0, 3).Draw(t, "faults") {
			at := rapid.IntRange(0, len(text)).Draw(t, "at")
			rest := text[at:]
			if len(rest) > 0 && rapid.Bool().Draw(t, "remove") {
				rest = rest[1:]
			}
			text = text[:at] + rapid.SampledFrom([]string{"", "-", "{", "}", "a", "G", " "}).Draw(t, "insert") + rest
		}
		want, valid := postgresUUID(text)
		got, err := decode.ParseWorkspaceID(text)
		require.Equal(t, valid, err == nil, "%q", text)
		if valid {
			require.Equal(t, want, got)
		}
	})
}
