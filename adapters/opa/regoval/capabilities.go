package regoval

import (
	"slices"

	"github.com/open-policy-agent/opa/v1/ast"
)

// forbidden builtins read more than the input and the data, or give another answer each time. A decision must not depend on
// the network, and a replay must give the same verdict. time.now_ns stays: it is the time of the decision, which the record
// has.
var forbidden = []string{
	"http.send",
	"net.lookup_ip_addr",
	"opa.runtime",
	"rand.intn",
	"uuid.rfc4122",
}

// Capabilities are OPA's without the forbidden builtins. To the compiler these are undefined functions.
func Capabilities() *ast.Capabilities {
	all := ast.CapabilitiesForThisVersion()
	all.Builtins = slices.DeleteFunc(slices.Clone(all.Builtins), func(b *ast.Builtin) bool {
		return slices.Contains(forbidden, b.Name)
	})
	all.AllowNet = []string{}
	return all
}
