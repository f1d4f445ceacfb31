// Package auth knows the callers: their tokens, their roles, and who sent a request.
package auth

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync/atomic"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/molecule-ai/gatehouse/internal/yamlfile"
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

// NewToken hashes a plain token.
func NewToken(name string, role Role, plain string) (Token, error) {
	if len(plain) < MinTokenLength {
		return Token{}, fmt.Errorf("the token of %s is shorter than %d characters", name, MinTokenLength)
	}
	return Token{Name: name, Role: role, Hash: sha256.Sum256([]byte(plain))}, nil
}

// ParseTokens reads a tokens file. name is what errors call it; they name the entry and never a hash.
//
//	tokens:
//	  - {name: registry-eu, role: registry, sha256: 9f86d0818…}
func ParseTokens(name string, text []byte) ([]Token, error) {
	document, err := yamlfile.Read(name, text)
	if err != nil {
		return nil, err
	}
	var file struct {
		Tokens []tokenEntry `json:"tokens"`
	}
	err = document.Decode(&file)
	if err != nil {
		return nil, err
	}
	if len(file.Tokens) == 0 {
		return nil, document.Errorf("", "no tokens: it must hold a list tokens of {name, role, sha256}")
	}
	tokens := make([]Token, 0, len(file.Tokens))
	for i, entry := range file.Tokens {
		token, err := entry.token()
		if err != nil {
			where := jsontext.Pointer("/tokens").AppendToken(strconv.Itoa(i))
			return nil, document.Errorf(where, "entry %d: %w", i+1, err)
		}
		tokens = append(tokens, token)
	}
	return tokens, nil
}

// tokenEntry is one entry of a tokens file.
type tokenEntry struct {
	Name   string `json:"name"`
	Role   Role   `json:"role"`
	SHA256 string `json:"sha256"`
}

func (e tokenEntry) token() (Token, error) {
	hash, err := hex.DecodeString(e.SHA256)
	switch {
	case e.Name == "":
		return Token{}, errors.New("no name")
	case !slices.Contains([]Role{RoleRegistry, RoleAuthor, RoleViewer}, e.Role):
		return Token{}, errors.New("the role is not registry, author or viewer")
	case err != nil || len(hash) != sha256.Size:
		return Token{}, errors.New("sha256 is not 64 hexadecimal digits")
	case [sha256.Size]byte(hash) == sha256.Sum256(nil):
		return Token{}, errors.New("sha256 is that of an empty token")
	}
	return Token{Name: e.Name, Role: e.Role, Hash: [sha256.Size]byte(hash)}, nil
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

// Caller finds the owner of a token. It compares with every token, so that a wrong token takes as long as a right one.
func (a *Authenticator) Caller(presented string) (Token, bool) {
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

// StillKnows says whether the caller of an open request would still be let in.
func (a *Authenticator) StillKnows(ctx context.Context) bool {
	return a.Open() || slices.Contains(*a.tokens.Load(), CallerOf(ctx))
}

type callerKey struct{}

// WithCaller gives a context of a request that caller has sent.
func WithCaller(ctx context.Context, caller Token) context.Context {
	return context.WithValue(ctx, callerKey{}, caller)
}

// CallerOf is the authenticated caller, or the zero Token where callers need none.
func CallerOf(ctx context.Context) Token {
	caller, _ := ctx.Value(callerKey{}).(Token)
	return caller
}
