package cmdtest

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/policies"
)

func Fetch(t *testing.T, url string) (int, string) {
	t.Helper()
	response, err := http.Get(url)
	require.NoError(t, err)
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return response.StatusCode, string(body)
}

// File writes a file for this test alone.
func File(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

// PolicyFolder is a folder with the embedded policies and what else is given, by name and text in turn.
func PolicyFolder(t *testing.T, files ...string) string {
	t.Helper()
	folder := t.TempDir()
	require.NoError(t, os.CopyFS(folder, policies.FS))
	for i := 0; i < len(files); i += 2 {
		require.NoError(t, os.WriteFile(filepath.Join(folder, files[i]), []byte(files[i+1]), 0o600))
	}
	return folder
}

const TestToken = "a-token-of-a-registry-0123"

func Hashed(token string) string {
	sum := sha256.Sum256([]byte(token))
	return hex.EncodeToString(sum[:])
}

// CandidateFolder is a folder with the embedded policies in which codes are enforced as given, in YAML. It may weaken the
// platform agent's rule.
func CandidateFolder(t *testing.T, enforcement string) string {
	t.Helper()
	folder := PolicyFolder(t)
	data, err := os.ReadFile(filepath.Join(folder, "data.yaml"))
	require.NoError(t, err)
	changed := strings.Replace(string(data), "\nenforcement: {}", "\nallow_weaker: ["+IdentityGateCode+"]\nenforcement: "+enforcement, 1)
	require.NotEqual(t, string(data), changed)
	require.NoError(t, os.WriteFile(filepath.Join(folder, "data.yaml"), []byte(changed), 0o600))
	return folder
}

// KeyFiles are a private key and its public half, as files.
func KeyFiles(t *testing.T) (private, public string) {
	t.Helper()
	publicKey, privateKey, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	der, err := x509.MarshalPKCS8PrivateKey(privateKey)
	require.NoError(t, err)
	private = File(t, "private.pem", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})))
	der, err = x509.MarshalPKIXPublicKey(publicKey)
	require.NoError(t, err)
	return private, File(t, "public.pem", string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})))
}

// SmallFolder has one rule and one test.
func SmallFolder(t *testing.T) string {
	t.Helper()
	folder := t.TempDir()
	for name, text := range map[string]string{
		"data.yaml": GatelessData,
		"rule.rego": fmt.Sprintf(StormRule, "external"),
		"rule_test.rego": "package admission.register_test\n\nimport data.admission.register\n\n" +
			"test_external if count(register.deny) == 1 with input.request.kind as \"external\"\n",
	} {
		require.NoError(t, os.WriteFile(filepath.Join(folder, name), []byte(text), 0o600))
	}
	return folder
}

const IdentityGateCode = "PLATFORM_AGENT_IDENTITY_GATE"

// GatelessData says that policies go without the platform agent's rule on purpose.
const GatelessData = "allow_weaker: [PLATFORM_AGENT_IDENTITY_GATE]\n"

const StormRule = `package admission.register

# METADATA
# title: A title
# description: A description.
# custom: {code: SOME_CODE, severity: high, status: 400}
deny contains {"reason": "r", "message": "m"} if input.request.kind == %q
`
