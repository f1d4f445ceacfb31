// Package regoval turns the parts of a review into OPA's values, and says which builtins policies have. It evaluates nothing.
package regoval

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/molecule-ai/gatehouse/server/admission"
)

// Input builds the input as OPA's values. The way through map[string]any would cost as much as a small evaluation. Keys of
// secrets become sets, so that a rule can look a key up.
func Input(in admission.Input) (ast.Value, error) {
	request, err := JSON(in.Request)
	if err != nil {
		return nil, fmt.Errorf("request: %w", err)
	}
	workspace, err := JSON(in.Facts.Workspace)
	if err != nil {
		return nil, fmt.Errorf("facts.workspace: %w", err)
	}
	facts := ast.NewObject(
		ast.Item(ast.InternedTerm("exists"), ast.InternedTerm(in.Facts.Exists)),
		ast.Item(ast.InternedTerm("workspace"), workspace),
		ast.Item(ast.InternedTerm("secret_keys"), Set(in.Facts.SecretKeys)),
		ast.Item(ast.InternedTerm("global_secret_keys"), Set(in.Facts.GlobalSecretKeys)),
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

// Set is a set of texts.
func Set(keys []string) *ast.Term {
	set := ast.NewSetWithCapacity(len(keys))
	for _, key := range keys {
		set.Add(ast.StringTerm(key))
	}
	return ast.NewTerm(set)
}

// JSON reads one JSON value. Its text has been checked where it came in: syntax, duplicates, depth.
func JSON(text jsontext.Value) (*ast.Term, error) {
	decoder := jsontext.NewDecoder(bytes.NewBuffer(text), jsontext.AllowDuplicateNames(true))
	term, err := Read(decoder)
	if err != nil {
		return nil, err
	}
	return term, AtEnd(decoder)
}

// AtEnd fails if there is anything left to read.
func AtEnd(decoder *jsontext.Decoder) error {
	_, err := decoder.ReadToken()
	if !errors.Is(err, io.EOF) {
		return errors.New("bytes after the value")
	}
	return nil
}

// Read reads the next value.
func Read(decoder *jsontext.Decoder) (*ast.Term, error) {
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
		element, err := Read(decoder)
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
		value, err := Read(decoder)
		if err != nil {
			return nil, err
		}
		object.Insert(key, value)
	}
	_, err := decoder.ReadToken()
	return ast.NewTerm(object), err
}
