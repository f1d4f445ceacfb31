package decode

import (
	"net/netip"
	"strings"
	"testing"

	whatwg "github.com/nlnwa/whatwg-url/url"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/molecule-ai/gatehouse/server/admission"
)

func TestParsePlainURLAgreesWithWHATWG(t *testing.T) {
	plain := 0
	rapid.Check(t, func(t *rapid.T) {
		part := func(name, of string, most int) string {
			return string(rapid.SliceOfN(rapid.SampledFrom([]rune(of)), 0, most).Draw(t, name))
		}
		text := rapid.SampledFrom([]string{"http://", "https://", "HTTP://", "ftp://", "http:", "http:/", "https:///"}).Draw(t, "scheme") +
			rapid.SampledFrom([]string{"", "agent", "a.b", "x1-"}).Draw(t, "host") + part("more of host", "abcxn01249.-:@[]%_", 4) + rapid.SampledFrom([]string{"", ".example.com", ":80", ":443", ":8080", ":08", ":99999", ".0x1", ".1"}).Draw(t, "rest of host") +
			rapid.SampledFrom([]string{"", "/"}).Draw(t, "slash") + part("path", "aZ0/._-~?#%\\ @:", 8)
		if rapid.Bool().Draw(t, "likely plain") {
			text = "https://agent" + part("label", "abc019", 4) + ".example.com:8" + part("port", "0123456789", 3) + "/" + part("way", "aZ0/._-~", 8)
		}
		got, isPlain := parsePlainURL(text)
		if !isPlain {
			return
		}
		plain++
		parsed, err := whatwg.Parse(text)
		require.NoError(t, err, text)
		require.Equal(t, admission.URL{
			Valid: true, Scheme: strings.TrimSuffix(parsed.Protocol(), ":"), Host: parsed.Hostname(), Port: parsed.DecodedPort(),
			Userinfo: parsed.Username() != "" || parsed.Password() != "",
		}, got, text)
		_, err = netip.ParseAddr(parsed.Hostname())
		require.Error(t, err, text)
	})
	require.Positive(t, plain, "plain URLs are looked at")
	for _, text := range []string{"https://agent.example.com", "http://agent-7:8000/a2a", "https://x.y.example.org:8443/path/to/card.json"} {
		_, isPlain := parsePlainURL(text)
		require.True(t, isPlain, text)
	}
	for _, text := range []string{
		"http://2852039166/", "http://0x7f.1", "http://a.1", "https://xn--bcher-kva.example", "http://a@b.c", "http://a..b", "http://a.", "http://A.b",
		"http://a.b/%2e", "http://a.b?q", "http://a.b:0", "http://a.b:", "http://-a.b", "http:a.b", "http://", "http://a\tb",
	} {
		_, isPlain := parsePlainURL(text)
		require.False(t, isPlain, text)
	}
}
