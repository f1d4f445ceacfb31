package regoval

import (
	"slices"

	"github.com/open-policy-agent/opa/v1/ast"
)

// forbidden builtins reach outside the input and the data, or give another answer each time: a decision must
// not depend on the network, and replaying it must reproduce it. time.now_ns stays: it is the time of the
// decision, which the record has.
var forbidden = []string{
	"http.send",
	"net.lookup_ip_addr",
	"opa.runtime",
	"rand.intn",
	"uuid.rfc4122",
}

// Capabilities are OPA's without the forbidden builtins, which so become undefined functions at compile time.
func Capabilities() *ast.Capabilities {
	all := ast.CapabilitiesForThisVersion()
	all.Builtins = slices.DeleteFunc(slices.Clone(all.Builtins), func(b *ast.Builtin) bool {
		return slices.Contains(forbidden, b.Name)
	})
	all.AllowNet = []string{}
	return all
}
