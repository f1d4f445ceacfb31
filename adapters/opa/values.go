package opa

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/open-policy-agent/opa/v1/ast"

	"gatehouse/server/admission"
)

// inputValue builds the input as OPA values, without the detour through map[string]any, which costs as much
// as a small evaluation. Facts that are sets become sets, so that a rule can look a key up and iterate.
func inputValue(in admission.Input) (ast.Value, error) {
	request, err := jsonValue(in.Request)
	if err != nil {
		return nil, fmt.Errorf("request: %w", err)
	}
	workspace, err := jsonValue(in.Facts.Workspace)
	if err != nil {
		return nil, fmt.Errorf("facts.workspace: %w", err)
	}
	facts := ast.NewObject(
		ast.Item(ast.InternedTerm("exists"), ast.InternedTerm(in.Facts.Exists)),
		ast.Item(ast.InternedTerm("workspace"), workspace),
		ast.Item(ast.InternedTerm("secret_keys"), setTerm(in.Facts.SecretKeys)),
		ast.Item(ast.InternedTerm("global_secret_keys"), setTerm(in.Facts.GlobalSecretKeys)),
	)
	url := ast.NewObject(
		ast.Item(ast.InternedTerm("valid"), ast.InternedTerm(in.URL.Valid)),
		ast.Item(ast.InternedTerm("scheme"), ast.StringTerm(in.URL.Scheme)),
		ast.Item(ast.InternedTerm("host"), ast.StringTerm(in.URL.Host)),
		ast.Item(ast.InternedTerm("ip"), ast.StringTerm(in.URL.IP)),
		ast.Item(ast.InternedTerm("port"), ast.InternedTerm(in.URL.Port)),
		ast.Item(ast.InternedTerm("userinfo"), ast.InternedTerm(in.URL.Userinfo)),
	)
	return ast.NewObject(
		ast.Item(ast.InternedTerm("hook"), ast.StringTerm(in.Hook)),
		ast.Item(ast.InternedTerm("dry_run"), ast.InternedTerm(in.DryRun)),
		ast.Item(ast.InternedTerm("caller_proof"), ast.StringTerm(string(in.CallerProof))),
		ast.Item(ast.InternedTerm("request"), request),
		ast.Item(ast.InternedTerm("facts"), ast.NewTerm(facts)),
		ast.Item(ast.InternedTerm("url"), ast.NewTerm(url)),
		ast.Item(ast.InternedTerm("deployment"), ast.ObjectTerm(
			ast.Item(ast.InternedTerm("saas"), ast.InternedTerm(in.Deployment.SaaS)),
		)),
	), nil
}

func setTerm(keys []string) *ast.Term {
	set := ast.NewSetWithCapacity(len(keys))
	for _, key := range keys {
		set.Add(ast.StringTerm(key))
	}
	return ast.NewTerm(set)
}

// jsonValue reads one JSON value. Its text has been checked where it came in: syntax, duplicates, depth.
func jsonValue(text jsontext.Value) (*ast.Term, error) {
	decoder := jsontext.NewDecoder(bytes.NewBuffer(text), jsontext.AllowDuplicateNames(true))
	term, err := readValue(decoder)
	if err != nil {
		return nil, err
	}
	return term, atEnd(decoder)
}

func atEnd(decoder *jsontext.Decoder) error {
	_, err := decoder.ReadToken()
	if !errors.Is(err, io.EOF) {
		return errors.New("bytes after the value")
	}
	return nil
}

func readValue(decoder *jsontext.Decoder) (*ast.Term, error) {
	token, err := decoder.ReadToken()
	if err != nil {
		return nil, err
	}
	switch token.Kind() {
	case 'n':
		return ast.InternedNullTerm, nil
	case 't', 'f':
		return ast.InternedTerm(token.Bool()), nil
	case '"':
		return ast.StringTerm(token.String()), nil
	case '0':
		return numberTerm(token.String()), nil
	case '[':
		return readArray(decoder)
	default:
		return readObject(decoder)
	}
}

func numberTerm(text string) *ast.Term {
	if term := ast.InternedIntNumberTermFromString(text); term != nil {
		return term
	}
	return ast.NumberTerm(json.Number(text))
}

func readArray(decoder *jsontext.Decoder) (*ast.Term, error) {
	var elements []*ast.Term
	for decoder.PeekKind() != ']' {
		element, err := readValue(decoder)
		if err != nil {
			return nil, err
		}
		elements = append(elements, element)
	}
	_, err := decoder.ReadToken()
	return ast.ArrayTerm(elements...), err
}

func readObject(decoder *jsontext.Decoder) (*ast.Term, error) {
	object := ast.NewObjectWithCapacity(8)
	for decoder.PeekKind() != '}' {
		name, err := decoder.ReadToken()
		if err != nil {
			return nil, err
		}
		key := ast.StringTerm(name.String())
		value, err := readValue(decoder)
		if err != nil {
			return nil, err
		}
		object.Insert(key, value)
	}
	_, err := decoder.ReadToken()
	return ast.NewTerm(object), err
}

// readStatus reads the HTTP status of a deny: a client error, never a success and never "try again".
func readStatus(text string) (int, error) {
	status, err := strconv.Atoi(text)
	if err != nil || status < 400 || status > 499 {
		return 0, fmt.Errorf("must be an HTTP status from 400 to 499")
	}
	return status, nil
}

// isCode says whether text can be a violation's code, which is a metric label and a promise to clients.
func isCode(text string) bool {
	if text == "" || len(text) > 64 || text[0] < 'A' || text[0] > 'Z' {
		return false
	}
	for _, c := range text {
		upper, digit := c >= 'A' && c <= 'Z', c >= '0' && c <= '9'
		if !upper && !digit && c != '_' {
			return false
		}
	}
	return true
}

func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K {
	keys := make([]K, 0, len(m))
	for key := range m {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}
