package decode_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/molecule-ai/gatehouse/server/admission"
	"github.com/molecule-ai/gatehouse/server/admission/decode"
)

func TestParseURLFollowsWHATWG(t *testing.T) {
	https := func(host, ip string) admission.URL {
		return admission.URL{Valid: true, Scheme: "https", Host: host, IP: ip, Port: 443}
	}
	http := func(host, ip string) admission.URL {
		return admission.URL{Valid: true, Scheme: "http", Host: host, IP: ip, Port: 80}
	}
	with := func(u admission.URL, change func(*admission.URL)) admission.URL {
		change(&u)
		return u
	}
	loopback, metadata := http("127.0.0.1", "127.0.0.1"), http("169.254.169.254", "169.254.169.254")
	example := https("agent.example.com", "")
	invalid := admission.URL{}

	for name, test := range map[string]struct {
		text string
		want admission.URL
	}{
		"a name":              {"https://agent.example.com/a?b#c", example},
		"upper case":          {"HTTPS://AGENT.Example.COM", example},
		"its default port":    {"https://agent.example.com:443", example},
		"an empty port":       {"https://agent.example.com:/", example},
		"a port":              {"http://agent-7:8000", with(http("agent-7", ""), func(u *admission.URL) { u.Port = 8000 })},
		"a port with zeros":   {"http://agent-7:0008000", with(http("agent-7", ""), func(u *admission.URL) { u.Port = 8000 })},
		"the largest port":    {"http://agent-7:65535", with(http("agent-7", ""), func(u *admission.URL) { u.Port = 65535 })},
		"another's port":      {"http://agent.example.com:443", with(http("agent.example.com", ""), func(u *admission.URL) { u.Port = 443 })},
		"ws":                  {"ws://agent.example.com", admission.URL{Valid: true, Scheme: "ws", Host: "agent.example.com", Port: 80}},
		"ftp":                 {"ftp://agent.example.com", admission.URL{Valid: true, Scheme: "ftp", Host: "agent.example.com", Port: 21}},
		"file":                {"file:///etc/passwd", admission.URL{Valid: true, Scheme: "file"}},
		"another scheme":      {"gopher://agent.example.com", admission.URL{Valid: true, Scheme: "gopher", Host: "agent.example.com"}},
		"script":              {"javascript:alert(1)", admission.URL{Valid: true, Scheme: "javascript"}},
		"a trailing dot":      {"https://agent.example.com./", https("agent.example.com.", "")},
		"percent-encoded":     {"https://%61gent.example%2Ecom", example},
		"full-width letters":  {"https://ａｇｅｎｔ．ｅｘａｍｐｌｅ．ｃｏｍ", example},
		"an ideographic stop": {"https://agent。example。com", example},
		"a soft hyphen":       {"https://ag\u00adent.example.com", example},
		"an umlaut":           {"https://b\u00fccher.example", https("xn--bcher-kva.example", "")},
		"spaces around":       {"  https://agent.example.com \n", example},
		"tabs and line feeds": {"ht\ttps://agent\n.example\r.com", example},
		"backslashes":         {`https:\\agent.example.com\a`, example},
		"no slashes":          {"https:agent.example.com", example},
		"three slashes":       {"https:///agent.example.com", example},

		"dotted decimal":                  {"http://127.0.0.1", loopback},
		"decimal":                         {"http://2130706433/", loopback},
		"metadata in decimal":             {"http://2852039166/", metadata},
		"octal":                           {"http://0177.0.0.01", loopback},
		"octal in one":                    {"http://017700000001", loopback},
		"hexadecimal":                     {"http://0x7f.0x0.0x0.0X1", loopback},
		"hexadecimal in one":              {"http://0x7F000001", loopback},
		"metadata in hexadecimal":         {"http://0xa9fea9fe", metadata},
		"short, two parts":                {"http://127.1", loopback},
		"short, three parts":              {"http://127.0.1", loopback},
		"mixed":                           {"http://0x7f.1", loopback},
		"zero":                            {"http://0", http("0.0.0.0", "0.0.0.0")},
		"an empty hexadecimal is zero":    {"http://0x", http("0.0.0.0", "0.0.0.0")},
		"an address with a trailing dot":  {"http://127.0.0.1./", loopback},
		"percent-encoded digits":          {"http://%31%32%37.0.0.1", loopback},
		"a percent-encoded dot":           {"http://127%2e0%2E0.1", loopback},
		"full-width digits":               {"http://１２７.０.０.１", loopback},
		"circled digits":                  {"http://①②⑦.⓪.⓪.①", loopback},
		"an address in backslashes":       {`http:\\127.0.0.1\`, loopback},
		"an address with tabs":            {"http://127\t.0.\n0.1", loopback},
		"an address too large":            {"http://4294967296", invalid},
		"a part too large":                {"http://256.1.1.1", invalid},
		"five parts":                      {"http://1.2.3.4.5", invalid},
		"a name that ends in a number":    {"http://agent.1", invalid},
		"a name that ends in hexadecimal": {"http://agent.0x1", invalid},
		"an octal that is none":           {"http://09", invalid},
		"two trailing dots":               {"http://127.0.0.1..", http("127.0.0.1..", "")},

		"IPv6":                       {"http://[2001:DB8::0:1]", http("2001:db8::1", "2001:db8::1")},
		"IPv6 loopback in full":      {"http://[0:0:0:0:0:0:0:1]", http("::1", "::1")},
		"IPv6 with a port":           {"http://[::1]:8080", with(http("::1", "::1"), func(u *admission.URL) { u.Port = 8080 })},
		"IPv4-mapped":                {"http://[::ffff:127.0.0.1]", http("::ffff:7f00:1", "127.0.0.1")},
		"IPv4-mapped in hexadecimal": {"http://[::FFFF:a9fe:A9FE]", http("::ffff:a9fe:a9fe", "169.254.169.254")},
		"IPv4-compatible":            {"http://[::127.0.0.1]", http("::7f00:1", "::7f00:1")},
		"a zone":                     {"http://[fe80::1%25eth0]", invalid},
		"a bare zone":                {"http://[fe80::1%eth0]", invalid},
		"IPv6 without its end":       {"http://[::1", invalid},
		"IPv6 without brackets":      {"http://::1", invalid},
		"text in brackets":           {"http://[agent]", invalid},
		"IPv6 in another scheme":     {"gopher://[::1]", admission.URL{Valid: true, Scheme: "gopher", Host: "::1", IP: "::1"}},
		"IPv4 in another scheme":     {"gopher://127.0.0.1", admission.URL{Valid: true, Scheme: "gopher", Host: "127.0.0.1", IP: "127.0.0.1"}},

		"a user":                  {"https://me@agent.example.com", with(example, func(u *admission.URL) { u.Userinfo = true })},
		"a user and a password":   {"https://me:pw@agent.example.com", with(example, func(u *admission.URL) { u.Userinfo = true })},
		"a password":              {"https://:pw@agent.example.com", with(example, func(u *admission.URL) { u.Userinfo = true })},
		"a host posing as a user": {"http://agent.example.com@127.0.0.1", with(loopback, func(u *admission.URL) { u.Userinfo = true })},
		"two at signs":            {"http://a@b@127.0.0.1", with(loopback, func(u *admission.URL) { u.Userinfo = true })},
		"an empty user":           {"https://@agent.example.com", example},
		"an at sign in the path":  {"https://agent.example.com/@127.0.0.1", example},
		"a backslash before it":   {`http://127.0.0.1\@agent.example.com`, loopback},

		"nothing":                   {"", invalid},
		"spaces":                    {"  ", invalid},
		"a path":                    {"/register", invalid},
		"no scheme":                 {"agent.example.com/a", invalid},
		"without a scheme's name":   {"://agent.example.com", invalid},
		"relative to a scheme":      {"//agent.example.com", invalid},
		"no host":                   {"http://", invalid},
		"no host but a port":        {"http://:80", invalid},
		"no host but a user":        {"http://me@", invalid},
		"a space in the host":       {"http://agent example.com", invalid},
		"an encoded space":          {"http://agent%20example.com", invalid},
		"an encoded slash":          {"http://agent%2fexample.com", invalid},
		"an encoded NUL":            {"http://agent%00.example.com", invalid},
		"a port too large":          {"http://agent:65536", invalid},
		"a port that is no number":  {"http://agent:http", invalid},
		"a negative port":           {"http://agent:-1", invalid},
		"an angle bracket":          {"http://agent<.example.com", invalid},
		"an encoding that is none":  {"http://agent%zz.example.com", invalid},
		"a caret":                   {"http://agent^.example.com", invalid},
		"an encoded at sign, no @@": {"http://agent%40127.0.0.1", invalid},
	} {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, test.want, decode.ParseURL(test.text), "%q", test.text)
		})
	}
}

func TestParseURLGivesZeroForInvalidText(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		prefix := rapid.SampledFrom([]string{"", "http://", "https://[", "http:", "x:"}).Draw(t, "prefix")
		got := decode.ParseURL(prefix + rapid.String().Draw(t, "rest"))
		if !got.Valid {
			require.Equal(t, admission.URL{}, got)
			return
		}
		require.NotEmpty(t, got.Scheme)
		require.GreaterOrEqual(t, got.Port, 0)
		require.LessOrEqual(t, got.Port, 65535)
	})
}
