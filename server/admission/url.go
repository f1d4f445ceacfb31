package admission

import (
	"net/netip"
	"strings"

	whatwg "github.com/nlnwa/whatwg-url/url"
)

// URL is the request's URL as a browser would read it (WHATWG rules), because Rego has no URL parser. Which
// addresses are refused is the policies' business. The zero value is a URL that is absent or unreadable.
type URL struct {
	Valid    bool   `json:"valid"`
	Scheme   string `json:"scheme"`
	Host     string `json:"host"` // lower case; IPv6 without brackets
	IP       string `json:"ip"`   // canonical address if the host is one, IPv4-mapped IPv6 as IPv4
	Port     int    `json:"port"` // the scheme's default if none is given
	Userinfo bool   `json:"userinfo"`
}

// ParseURL never looks a name up.
func ParseURL(text string) URL {
	if text == "" {
		return URL{}
	}
	if plain, isPlain := parsePlainURL(text); isPlain {
		return plain
	}
	parsed, err := whatwg.Parse(text)
	if err != nil {
		return URL{}
	}

	host := strings.TrimSuffix(strings.TrimPrefix(parsed.Hostname(), "["), "]")
	address := ""
	if ip, err := netip.ParseAddr(host); err == nil {
		address = ip.Unmap().String()
	}
	return URL{
		Valid:    true,
		Scheme:   strings.TrimSuffix(parsed.Protocol(), ":"),
		Host:     host,
		IP:       address,
		Port:     parsed.DecodedPort(),
		Userinfo: parsed.Username() != "" || parsed.Password() != "",
	}
}
