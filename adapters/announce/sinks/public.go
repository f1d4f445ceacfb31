package sinks

import (
	"errors"
	"fmt"
	"net/netip"
	"syscall"
)

var errPrivate = errors.New("not a public address, and allow_private is off")

// refusePrivate is a dialer's Control. The dialer calls it after the name was looked up, with the address that it is about to
// dial. So a name server cannot give another answer after the check.
func refusePrivate(_, address string, _ syscall.RawConn) error {
	target, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("reading the address to dial: %w", err)
	}
	return checkPublic(target.Addr())
}

// reserved are the addresses that are not for the public Internet, though Go
// calls them neither private nor local: IANA's registries of special-purpose
// addresses, and one that a cloud uses like a link-local one.
func reserved() []netip.Prefix {
	return []netip.Prefix{
		netip.MustParsePrefix("0.0.0.0/8"),        // this network
		netip.MustParsePrefix("100.64.0.0/10"),    // carrier-grade NAT
		netip.MustParsePrefix("168.63.129.16/32"), // Azure's host, in all of its networks
		netip.MustParsePrefix("192.0.0.0/24"),     // protocol assignments, Oracle's metadata
		netip.MustParsePrefix("192.0.2.0/24"),     // documentation
		netip.MustParsePrefix("192.88.99.0/24"),   // 6to4 relays
		netip.MustParsePrefix("198.18.0.0/15"),    // benchmarks
		netip.MustParsePrefix("198.51.100.0/24"),  // documentation
		netip.MustParsePrefix("203.0.113.0/24"),   // documentation
		netip.MustParsePrefix("240.0.0.0/4"),      // reserved, broadcast
		netip.MustParsePrefix("2001::/23"),        // protocol assignments, Teredo
		netip.MustParsePrefix("2001:db8::/32"),    // documentation
		netip.MustParsePrefix("2002::/16"),        // 6to4: an IPv4 address inside
		netip.MustParsePrefix("3fff::/20"),        // documentation
	}
}

// checkPublic refuses every address that the public Internet does not route.
func checkPublic(address netip.Addr) error {
	address = address.WithZone("").Unmap()
	translated := netip.MustParsePrefix("64:ff9b::/96")
	if translated.Contains(address) {
		// A network without IPv4 reaches every IPv4 host through these.
		bytes := address.As16()
		address = netip.AddrFrom4([4]byte(bytes[12:]))
	}
	if !address.IsGlobalUnicast() || address.IsPrivate() {
		return errPrivate
	}
	if address.Is6() && !netip.MustParsePrefix("2000::/3").Contains(address) {
		return errPrivate
	}
	for _, prefix := range reserved() {
		if prefix.Contains(address) {
			return errPrivate
		}
	}
	return nil
}
