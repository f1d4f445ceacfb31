package decode

import (
	"net/netip"
	"strings"

	whatwg "github.com/nlnwa/whatwg-url/url"

	"github.com/molecule-ai/gatehouse/server/admission"
)

// ParseURL never looks a name up.
func ParseURL(text string) admission.URL {
	if text == "" {
		return admission.URL{}
	}
	if plain, isPlain := parsePlainURL(text); isPlain {
		return plain
	}
	parsed, err := whatwg.Parse(text)
	if err != nil {
		return admission.URL{}
	}

	host := strings.TrimSuffix(strings.TrimPrefix(parsed.Hostname(), "["), "]")
	address := ""
	if ip, err := netip.ParseAddr(host); err == nil {
		address = ip.Unmap().String()
	}
	return admission.URL{
		Valid:    true,
		Scheme:   strings.TrimSuffix(parsed.Protocol(), ":"),
		Host:     host,
		IP:       address,
		Port:     parsed.DecodedPort(),
		Userinfo: parsed.Username() != "" || parsed.Password() != "",
	}
}
