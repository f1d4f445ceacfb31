package decode

import (
	"strconv"
	"strings"

	"github.com/molecule-ai/gatehouse/server/admission"
)

// parsePlainURL reads what most URLs are, and gives false for all others: http or https, a host of ordinary labels
// that cannot be an address, perhaps a port, and a path of ordinary characters. Of such a URL all readers think
// the same, and it need not be taken apart by the rules for the others.
func parsePlainURL(text string) (admission.URL, bool) {
	scheme, rest, found := strings.Cut(text, "://")
	port := 80
	switch {
	case !found:
		return admission.URL{}, false
	case scheme == "https":
		port = 443
	case scheme != "http":
		return admission.URL{}, false
	}
	authority, path, _ := strings.Cut(rest, "/")
	host, portText, hasPort := strings.Cut(authority, ":")
	if hasPort {
		var err error
		port, err = strconv.Atoi(portText)
		if err != nil || port < 1 || port > 65535 || portText[0] < '1' || portText[0] > '9' {
			return admission.URL{}, false
		}
	}
	if !isPlainHost(host) || strings.ContainsFunc(path, isOddInPath) {
		return admission.URL{}, false
	}
	return admission.URL{Valid: true, Scheme: scheme, Host: host, Port: port}, true
}

const (
	maxHost  = 253
	maxLabel = 63
)

// isPlainHost says whether host has only labels of letters, digits and single hyphens between them, the last of which
// begins with a letter: what ends in a number is an address.
func isPlainHost(host string) bool {
	if len(host) == 0 || len(host) > maxHost {
		return false
	}
	start := 0
	for i := 0; i <= len(host); i++ {
		if i < len(host) && host[i] != '.' {
			c := host[i]
			isLetterOrDigit := c >= 'a' && c <= 'z' || c >= '0' && c <= '9'
			isHyphen := c == '-' && i > start && host[i-1] != '-'
			if !isLetterOrDigit && !isHyphen {
				return false
			}
			continue
		}
		if i == start || i-start > maxLabel || host[i-1] == '-' {
			return false
		}
		if i == len(host) {
			return host[start] >= 'a' && host[start] <= 'z'
		}
		start = i + 1
	}
	return false
}

func isOddInPath(c rune) bool {
	switch {
	case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9':
		return false
	default:
		return !strings.ContainsRune("/._-~", c)
	}
}
