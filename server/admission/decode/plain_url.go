package decode

import (
	"strconv"
	"strings"

	"github.com/molecule-ai/gatehouse/server/admission"
)

const (
	maxHost  = 253
	maxLabel = 63
)

// parsePlainURL reads what most URLs are, and gives false for all others: http or https, a host of ordinary labels
// that cannot be an address, perhaps a port, and a path of ordinary characters. All readers agree on such a URL. The
// WHATWG parser gives the same, but costs 6 µs and 35 allocations, and this costs 0.2 µs and none (stage decode/url of
// bench/allocations).
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
		parsed, err := strconv.ParseUint(portText, 10, 16)
		if err != nil || portText[0] == '0' {
			return admission.URL{}, false
		}
		port = int(parsed)
	}
	if !isPlainHost(host) || strings.ContainsFunc(path, isOddInPath) {
		return admission.URL{}, false
	}
	return admission.URL{Valid: true, Scheme: scheme, Host: host, Port: port}, true
}

// isPlainHost says whether host has only labels of letters, digits and single hyphens between them, the last of which
// begins with a letter: what ends in a number is an address.
func isPlainHost(host string) bool {
	last := ""
	for label := range strings.SplitSeq(host, ".") {
		isPlain := label != "" && len(label) <= maxLabel && !strings.ContainsFunc(label, isOddInLabel) &&
			label[0] != '-' && label[len(label)-1] != '-' && !strings.Contains(label, "--")
		if !isPlain {
			return false
		}
		last = label
	}
	return len(host) <= maxHost && last[0] >= 'a'
}

func isOddInLabel(c rune) bool { return (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' }

func isOddInPath(c rune) bool {
	return isOddInLabel(c) && (c < 'A' || c > 'Z') && !strings.ContainsRune("/._~", c)
}
