package sinks

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestCheckPublic(t *testing.T) {
	for _, address := range []string{
		"127.0.0.1", "127.255.255.254", "::1", "0.0.0.0", "0.1.2.3", "::",
		"10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "fc00::1", "fd00:ec2::254",
		"169.254.169.254", "fe80::1", "fe80::1%eth0", "fec0::1", "100.64.0.1", "100.100.100.200", "100.127.255.255",
		"224.0.0.1", "239.1.1.1", "ff02::1", "255.255.255.255", "240.0.0.1",
		"192.0.0.192", "192.0.2.1", "198.18.0.1", "198.51.100.1", "203.0.113.1", "192.88.99.1", "168.63.129.16",
		"::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "::127.0.0.1",
		"64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::1", "2002:7f00:1::", "2001:0:7f00:1::", "2001:db8::1",
		"100::1", "5f00::1", "3fff::1",
	} {
		require.ErrorIs(t, checkPublic(netip.MustParseAddr(address)), errPrivate, address)
	}
	for _, address := range []string{
		"1.1.1.1", "8.8.8.8", "172.15.0.1", "172.32.0.1", "100.63.255.255", "100.128.0.1", "198.17.0.1", "223.255.255.254",
		"2606:4700:4700::1111", "2a00:1450:4001:800::200e", "::ffff:1.1.1.1", "64:ff9b::101:101",
	} {
		require.NoError(t, checkPublic(netip.MustParseAddr(address)), address)
	}
}

func TestRefusePrivateChecksTheDialledAddress(t *testing.T) {
	require.ErrorIs(t, refusePrivate("tcp4", "127.0.0.1:443", nil), errPrivate)
	require.ErrorIs(t, refusePrivate("tcp6", "[fe80::1%eth0]:443", nil), errPrivate)
	require.NoError(t, refusePrivate("tcp4", "1.1.1.1:443", nil))
	require.Error(t, refusePrivate("unix", "/run/docker.sock", nil))
}
