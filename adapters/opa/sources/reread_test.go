package sources_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/adapters/opa/sources"
)

// identity is a self-signed certificate, as PEM and for TLS.
type identity struct {
	certificate, key string
	tls              tls.Certificate
}

func newIdentity(t *testing.T) *identity {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	private, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	made := &identity{certificate: asPEM("CERTIFICATE", der), key: asPEM("PRIVATE KEY", private)}
	made.tls, err = tls.X509KeyPair([]byte(made.certificate), []byte(made.key))
	require.NoError(t, err)
	return made
}

// New files of the CA or of the client's certificate are used with the next request. A pair that is half written changes
// nothing.
func TestRotatedCertificatesAreUsed(t *testing.T) {
	bundles := &bundleServer{}
	bundles.put(build(t, sources.Package{Files: module(denyAll("one"))}), "")
	var server, client atomic.Pointer[identity]
	server.Store(newIdentity(t))
	client.Store(newIdentity(t))
	web := httptest.NewUnstartedServer(bundles)
	web.Config.SetKeepAlivesEnabled(false)
	web.TLS = &tls.Config{
		MinVersion: tls.VersionTLS12, ClientAuth: tls.RequireAnyClientCert,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			return &tls.Config{
				MinVersion: tls.VersionTLS12, ClientAuth: tls.RequireAnyClientCert, Certificates: []tls.Certificate{server.Load().tls},
				VerifyPeerCertificate: func(raw [][]byte, _ [][]*x509.Certificate) error {
					if !bytes.Equal(raw[0], client.Load().tls.Certificate[0]) {
						return errors.New("another client")
					}
					return nil
				},
			}, nil
		},
	}
	web.StartTLS()
	defer web.Close()
	folder := t.TempDir()
	renew := func() {
		save(t, folder, "ca.pem", server.Load().certificate)
		save(t, folder, "client.pem", client.Load().certificate)
		save(t, folder, "client.key", client.Load().key)
	}
	renew()
	origin := open(t, web.URL+"/b.tar.gz", sources.Options{
		CAFile: filepath.Join(folder, "ca.pem"), CertFile: filepath.Join(folder, "client.pem"), KeyFile: filepath.Join(folder, "client.key"),
	})
	follower := follow(t, origin, newEngine(t), nil)
	require.NoError(t, follower.Start(t.Context()))

	server.Store(newIdentity(t))
	require.ErrorContains(t, follower.Check(t.Context()), "certificate")
	renew()
	require.NoError(t, follower.Check(t.Context()), "the new CA")

	client.Store(newIdentity(t))
	require.ErrorContains(t, follower.Check(t.Context()), "certificate")
	save(t, folder, "client.pem", client.Load().certificate)
	require.ErrorContains(t, follower.Check(t.Context()), "certificate", "not its key yet: the old pair is used")
	renew()
	require.NoError(t, follower.Check(t.Context()), "the new client certificate")

	for _, name := range []string{"ca.pem", "client.pem", "client.key"} {
		save(t, folder, name, "")
	}
	require.NoError(t, follower.Check(t.Context()), "empty files empty nothing")
	require.NoError(t, os.RemoveAll(folder))
	require.NoError(t, follower.Check(t.Context()))
}

// A changed key file is used with the next look at the source. A bundle that was refused for its key becomes live. A bundle
// that is signed by a removed key is refused.
func TestRotatedKeyFilesAreUsed(t *testing.T) {
	old, next := newKeyPair(t, "ES256"), newKeyPair(t, "EdDSA")
	folder := t.TempDir()
	ship := func(reason string, key keyPair) {
		save(t, folder, "b.tar.gz", string(build(t, sources.Package{Files: module(denyAll(reason)), Key: key.signing(t)})))
	}
	keys := filepath.Join(folder, "keys.pem")
	save(t, folder, "keys.pem", old.public)
	ship("one", old)
	engine := newEngine(t)
	options := sources.Options{Trust: sources.Trust{Keys: keysOf(t, keys)}}
	follower := follow(t, open(t, filepath.Join(folder, "b.tar.gz"), options), engine, nil)
	require.NoError(t, follower.Start(t.Context()))

	ship("two", next)
	require.ErrorContains(t, follower.Check(t.Context()), "is by none of the configured keys")
	for _, bad := range []string{"", "no key", old.public + next.public[:len(next.public)/2], next.private} {
		save(t, folder, "keys.pem", bad)
		require.NoError(t, follower.Check(t.Context()), "the same bundle and the same keys")
		require.NotNil(t, engine.Status().Refused)
	}
	save(t, folder, "keys.pem", old.public+next.public)
	require.NoError(t, follower.Check(t.Context()))
	require.Equal(t, []string{"two"}, reasons(t, engine))

	ship("three", old)
	require.NoError(t, follower.Check(t.Context()))
	require.Equal(t, []string{"three"}, reasons(t, engine))
	save(t, folder, "keys.pem", next.public)
	require.ErrorContains(t, follower.Check(t.Context()), "is by none of the configured keys")
	require.Equal(t, []string{"three"}, reasons(t, engine), "what is live stays, and is told to be stale")
	require.NotNil(t, engine.Status().Refused)
}

// A server that sends Retry-After is not asked before then. It may be in seconds or a date.
func TestRetryAfterIsKept(t *testing.T) {
	status, after := http.StatusServiceUnavailable, ""
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", after)
		w.WriteHeader(status)
	}))
	defer web.Close()
	for _, specification := range []string{web.URL + "/b.tar.gz", "oci://" + strings.TrimPrefix(web.URL, "http://") + "/team/policies:live"} {
		for _, status = range []int{http.StatusServiceUnavailable, http.StatusTooManyRequests} {
			follower := follow(t, open(t, specification, sources.Options{}), newEngine(t), nil)
			for text, least := range map[string]time.Duration{
				"90": 90 * time.Second,
				time.Now().Add(5 * time.Minute).UTC().Format(http.TimeFormat): 4 * time.Minute,
				"99999": 10 * time.Minute,
			} {
				after = text
				err := follower.Check(t.Context())
				require.Error(t, err)
				pause := follower.PauseAfter(err)
				require.GreaterOrEqual(t, pause, least, text)
				require.LessOrEqual(t, pause, 12*time.Minute, text)
			}
			after = "soon"
			require.Less(t, follower.PauseAfter(follower.Check(t.Context())), time.Minute)
		}
	}
	after, status = "600", http.StatusForbidden
	follower := follow(t, open(t, web.URL+"/b.tar.gz", sources.Options{}), newEngine(t), nil)
	require.Less(t, follower.PauseAfter(follower.Check(t.Context())), time.Minute, "not what a refusal means")
}
