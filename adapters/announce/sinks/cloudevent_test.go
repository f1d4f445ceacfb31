package sinks

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// The source of events is a URI reference that is not empty, as CloudEvents wants it.
func TestCheckSource(t *testing.T) {
	for _, good := range []string{
		"gatehouse", "/eu/gatehouse", "https://gatehouse.example.com/eu?x=1#y", "urn:uuid:6e8bc430-9c3a-11d9-9669-0800200c9a66",
		"mailto:ops@example.com", "//host/path", "a%20b", "1-555-123-4567",
	} {
		require.NoError(t, CheckSource(good), good)
	}
	for _, bad := range []string{"", " ", "a b", "a\nb", "ä", "a%2", "a%zz", "http://[::1", `a\b`, "<x>", "a|b", "1:2:/", "{x}"} {
		require.ErrorContains(t, CheckSource(bad), "is not a URI reference", "%q", bad)
	}
}
