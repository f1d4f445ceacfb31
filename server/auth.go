package server

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/go-json-experiment/json"
	"sigs.k8s.io/yaml"

	"gatehouse/server/admission"
)

// Role is what a caller may do.
type Role string

// A registry asks for admission and tells facts; an author reads and tries policies; a viewer looks at what
// was decided.
const (
	RoleRegistry Role = "registry"
	RoleAuthor   Role = "author"
	RoleViewer   Role = "viewer"
)

// MinTokenLength keeps a token from being guessed: it is hashed once, not slowly.
const MinTokenLength = 16

// Token is one caller's credential. Only the SHA-256 of the token is kept.
type Token struct {
	Name string
	Role Role
	Hash [sha256.Size]byte
}

// NewToken hashes a token that is at hand in plain.
func NewToken(name string, role Role, plain string) (Token, error) {
	if len(plain) < MinTokenLength {
		return Token{}, fmt.Errorf("the token of %s is shorter than %d characters", name, MinTokenLength)
	}
	return Token{Name: name, Role: role, Hash: sha256.Sum256([]byte(plain))}, nil
}

// ParseTokens reads a tokens file. Errors name the entry and never a hash.
//
//	tokens:
//	  - {name: registry-eu, role: registry, sha256: 9f86d0818…}
func ParseTokens(text []byte) ([]Token, error) {
	document, err := yaml.YAMLToJSONStrict(text)
	if err != nil {
		return nil, fmt.Errorf("tokens file: not readable as YAML")
	}
	var file struct {
		Tokens []struct {
			Name   string `json:"name"`
			Role   Role   `json:"role"`
			SHA256 string `json:"sha256"`
		} `json:"tokens"`
	}
	err = json.Unmarshal(document, &file, json.RejectUnknownMembers(true))
	if err != nil {
		return nil, fmt.Errorf("tokens file: it must hold a list tokens of {name, role, sha256}")
	}
	tokens := make([]Token, 0, len(file.Tokens))
	for i, entry := range file.Tokens {
		hash, err := hex.DecodeString(entry.SHA256)
		switch {
		case entry.Name == "":
			return nil, fmt.Errorf("tokens file: entry %d has no name", i+1)
		case !slices.Contains([]Role{RoleRegistry, RoleAuthor, RoleViewer}, entry.Role):
			return nil, fmt.Errorf("tokens file: %s: the role is not registry, author or viewer", entry.Name)
		case err != nil || len(hash) != sha256.Size:
			return nil, fmt.Errorf("tokens file: %s: sha256 is not 64 hexadecimal digits", entry.Name)
		case [sha256.Size]byte(hash) == sha256.Sum256(nil):
			return nil, fmt.Errorf("tokens file: %s: sha256 is that of an empty token", entry.Name)
		}
		tokens = append(tokens, Token{Name: entry.Name, Role: entry.Role, Hash: [sha256.Size]byte(hash)})
	}
	if len(tokens) == 0 {
		return nil, fmt.Errorf("tokens file: no tokens")
	}
	return tokens, nil
}

// Authenticator knows the callers. Without tokens everybody may do everything, which is for loopback only.
type Authenticator struct {
	tokens atomic.Pointer[[]Token]
}

// Use replaces the tokens; requests under way keep the caller they were let in as.
func (a *Authenticator) Use(tokens []Token) { a.tokens.Store(&tokens) }

// Open says whether callers are let in without a token.
func (a *Authenticator) Open() bool {
	tokens := a.tokens.Load()
	return tokens == nil || len(*tokens) == 0
}

// caller finds the token's owner. It compares with every token and takes as long for a wrong one as for a
// right one.
func (a *Authenticator) caller(presented string) (Token, bool) {
	hash := sha256.Sum256([]byte(presented))
	var found Token
	matched := 0
	for _, token := range *a.tokens.Load() {
		if equal := subtle.ConstantTimeCompare(hash[:], token.Hash[:]); equal == 1 {
			found, matched = token, 1
		}
	}
	return found, matched == 1 && len(presented) >= MinTokenLength
}

type callerKey struct{}

// callerOf is the authenticated caller, or the zero Token where callers need none.
func callerOf(ctx context.Context) Token {
	caller, _ := ctx.Value(callerKey{}).(Token)
	return caller
}

// authenticate lets a request through if its bearer token belongs to one of roles. wire decides how an error
// looks, because the relay form speaks the registry's language.
func (s *Server) authenticate(wire func(http.ResponseWriter, *http.Request, error), roles ...Role) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if s.options.Authenticator.Open() {
				next.ServeHTTP(w, r)
				return
			}
			scheme, presented, _ := strings.Cut(r.Header.Get("Authorization"), " ")
			caller, known := s.options.Authenticator.caller(presented)
			if !known || !strings.EqualFold(scheme, "Bearer") {
				wire(w, r, &admission.Error{Code: admission.CodeUnauthenticated, Detail: "a known bearer token is required"})
				return
			}
			if !slices.Contains(roles, caller.Role) {
				wire(w, r, &admission.Error{Code: admission.CodeForbidden, Detail: fmt.Sprintf("the role %s may not do this", caller.Role)})
				return
			}
			next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), callerKey{}, caller)))
		})
	}
}
