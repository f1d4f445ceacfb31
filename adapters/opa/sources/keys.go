package sources

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/bundle"

	"github.com/molecule-ai/gatehouse/internal/rereadfile"
)

// Key verifies bundles. It is known by its fingerprint. The id that a bundle names is not used: whoever makes the bundle chooses
// that.
type Key struct {
	Fingerprint string
	algorithms  []string
	pem         string
}

// Keys are the keys that bundles may be signed with: those that were given as PEM, and those of files as they are now.
type Keys struct {
	sets []*rereadfile.File[[]Key]
}

// ReadKeys reads public keys or certificates, each given as PEM or as the name of a file of PEM blocks. report hears of
// files that change, and may be nil.
func ReadKeys(texts []string, report rereadfile.Reporter) (Keys, error) {
	var keys Keys
	for _, text := range texts {
		var paths []string
		if !isPEM(text) {
			paths = append(paths, text)
		}
		set, err := rereadfile.Open("policies-key", report, func(contents [][]byte) ([]Key, error) {
			if len(contents) == 0 {
				return parseKeys([]byte(text))
			}
			return parseKeys(contents[0])
		}, paths...)
		if err != nil {
			return Keys{}, notPEM(err)
		}
		keys.sets = append(keys.sets, set)
	}
	return keys, nil
}

// None says whether no keys are configured.
func (k Keys) None() bool { return len(k.sets) == 0 }

// Now gives the keys.
func (k Keys) Now() []Key {
	var keys []Key
	for _, set := range k.sets {
		keys = append(keys, set.Get()...)
	}
	return keys
}

// fingerprints tell one state of the keys from another.
func (k Keys) fingerprints() string {
	names := make([]string, 0, len(k.sets))
	for _, key := range k.Now() {
		names = append(names, key.Fingerprint)
	}
	return strings.Join(names, " ")
}

// parseKeys reads all PEM blocks. Anything after them is refused: it may be a key that is half written.
func parseKeys(content []byte) ([]Key, error) {
	var keys []Key
	for {
		block, rest := pem.Decode(content)
		if block == nil {
			break
		}
		key, err := parsePublic(block)
		if err != nil {
			return nil, err
		}
		keys, content = append(keys, key), rest
	}
	switch {
	case len(keys) == 0:
		return nil, errNoPEM
	case len(bytes.TrimSpace(content)) > 0:
		return nil, errors.New("key: something that is no PEM follows the last key")
	}
	return keys, nil
}

func isPEM(text string) bool { return strings.HasPrefix(text, "-----BEGIN") }

var errNoPEM = errors.New("key: no PEM in it; keys are RSA, ECDSA or Ed25519, and never a shared secret")

// notPEM removes the name of the file from an error. It may be a shared secret that was given in place of a name.
func notPEM(err error) error {
	var unread *fs.PathError
	if errors.As(err, &unread) {
		return fmt.Errorf("key: neither PEM nor a file that can be read: %w", unread.Err)
	}
	return err
}

// readPEM refuses text without PEM, above all a shared secret: whoever can check an HMAC can forge it.
func readPEM(text string) ([]byte, error) {
	content := []byte(text)
	if !isPEM(text) {
		read, err := os.ReadFile(text)
		if err != nil {
			return nil, notPEM(err)
		}
		content = read
	}
	block, _ := pem.Decode(content)
	if block == nil {
		return nil, errNoPEM
	}
	return content, nil
}

func parsePublic(block *pem.Block) (Key, error) {
	var public any
	var err error
	switch block.Type {
	case "PUBLIC KEY":
		public, err = x509.ParsePKIXPublicKey(block.Bytes)
	case "RSA PUBLIC KEY":
		public, err = x509.ParsePKCS1PublicKey(block.Bytes)
	case "CERTIFICATE":
		var certificate *x509.Certificate
		certificate, err = x509.ParseCertificate(block.Bytes)
		if err == nil {
			public = certificate.PublicKey
		}
	default:
		return Key{}, fmt.Errorf("key: a %s is no public key or certificate", block.Type)
	}
	if err != nil {
		return Key{}, fmt.Errorf("key: %w", err)
	}
	return newKey(public)
}

func newKey(public any) (Key, error) {
	algorithms, err := algorithmsOf(public)
	if err != nil {
		return Key{}, err
	}
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		return Key{}, fmt.Errorf("key: %w", err)
	}
	sum := sha256.Sum256(der)
	return Key{
		Fingerprint: hex.EncodeToString(sum[:8]), algorithms: algorithms,
		pem: string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})),
	}, nil
}

// algorithmsOf gives the algorithms that a key may verify. The first one is used for signing. The key decides this, not the
// bundle: a bundle could have an RSA key used as the secret of an HMAC.
func algorithmsOf(public any) ([]string, error) {
	switch key := public.(type) {
	case *rsa.PublicKey:
		return []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}, nil
	case *ecdsa.PublicKey:
		switch key.Curve.Params().BitSize {
		case 256:
			return []string{"ES256"}, nil
		case 384:
			return []string{"ES384"}, nil
		case 521:
			return []string{"ES512"}, nil
		}
	case ed25519.PublicKey:
		return []string{"EdDSA"}, nil
	}
	return nil, fmt.Errorf("key: a %T cannot verify bundles; keys are RSA, ECDSA or Ed25519", public)
}

// verification finds the key that made the bundle's signature, and gives OPA what it needs to check the files.
func verification(signatures bundle.SignaturesConfig, keys []Key) (*bundle.VerificationConfig, Key, error) {
	if len(signatures.Signatures) == 0 {
		return nil, Key{}, errors.New("the bundle is not signed, and a key is configured")
	}
	header, err := headerOf(signatures.Signatures[0])
	if err != nil {
		return nil, Key{}, err
	}
	algorithm := header.Algorithm
	signatures.Plugin = "" // OPA's own way, whatever the bundle asks for
	for _, key := range keys {
		if !slices.Contains(key.algorithms, algorithm) {
			continue
		}
		config := bundle.NewVerificationConfig(map[string]*bundle.KeyConfig{
			key.Fingerprint: {Key: key.pem, Algorithm: algorithm},
		}, key.Fingerprint, "", nil)
		_, err = bundle.VerifyBundleSignature(signatures, config)
		if err == nil {
			return config, key, nil
		}
	}
	names := make([]string, len(keys))
	for i, key := range keys {
		names[i] = key.Fingerprint
	}
	cause := ""
	if err != nil {
		cause = ": " + err.Error()
	}
	return nil, Key{}, fmt.Errorf("the bundle's signature (%s) is by none of the configured keys (%s)%s",
		algorithm, strings.Join(names, ", "), cause)
}

// jwtHeader is what a token says of its signature before anybody has verified it.
type jwtHeader struct {
	Algorithm string `json:"alg"`
	KeyID     string `json:"kid"`
}

func headerOf(token string) (jwtHeader, error) {
	first, _, _ := strings.Cut(token, ".")
	text, err := base64.RawURLEncoding.DecodeString(first)
	var header jwtHeader
	if err == nil {
		err = json.Unmarshal(text, &header)
	}
	if err != nil {
		return jwtHeader{}, fmt.Errorf("the bundle's signature is no JWT: %w", err)
	}
	return header, nil
}

// SigningKey signs bundles.
type SigningKey struct {
	Key // of who verifies them

	private string
}

// ReadSigningKey reads a private key, given as PEM or as the name of a file.
func ReadSigningKey(text string) (SigningKey, error) {
	content, err := readPEM(text)
	if err != nil {
		return SigningKey{}, err
	}
	private, err := bundle.NewSigningConfig(string(content), "RS256", "").GetPrivateKey()
	if err != nil {
		return SigningKey{}, fmt.Errorf("signing key: %w", err)
	}
	signer, isSigner := private.(crypto.Signer)
	if !isSigner {
		return SigningKey{}, fmt.Errorf("signing key: a %T cannot sign", private)
	}
	key, err := newKey(signer.Public())
	return SigningKey{Key: key, private: string(content)}, err
}
