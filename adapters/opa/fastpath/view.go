package fastpath

import (
	"bytes"
	"errors"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/molecule-ai/gatehouse/adapters/opa/regoval"
	"github.com/molecule-ai/gatehouse/server/admission"
)

// names are the members that policies mention of those parts of the input that can hold any member. Each has its place in a
// view.
type names struct{ request, workspace map[string]int }

func namesOf(compiler *ast.Compiler) names {
	found := names{request: make(map[string]int), workspace: make(map[string]int)}
	for _, module := range compiler.Modules {
		ast.WalkRefs(module, func(ref ast.Ref) bool {
			mention(found.request, ref, requestRef)
			mention(found.workspace, ref, workspaceRef)
			return false
		})
	}
	return found
}

var (
	requestRef   = ast.MustParseRef("input.request")
	workspaceRef = ast.MustParseRef("input.facts.workspace")
)

// mention notes the member of prefix that ref mentions.
func mention(to map[string]int, ref, prefix ast.Ref) {
	if len(ref) <= len(prefix) || !ref.HasPrefix(prefix) {
		return
	}
	name, isText := ref[len(prefix)].Value.(ast.String)
	_, seen := to[string(name)]
	if isText && !seen {
		to[string(name)] = len(to)
	}
}

var errNoObject = errors.New("no object")

// view answers what rule indices and guards look up in an input, without making values of all of it. It knows the members
// that policies mention by name. Any other member is unknown, and the rule that asks for it is left to OPA.
type view struct {
	names     names
	data      ast.Value
	in        *admission.Input
	request   []ast.Value
	workspace []ast.Value
	decoder   *jsontext.Decoder
	text      bytes.Buffer
}

func newView(names names, data ast.Value) *view {
	return &view{
		names: names, data: data, decoder: jsontext.NewDecoder(&bytes.Buffer{}),
		request: make([]ast.Value, len(names.request)), workspace: make([]ast.Value, len(names.workspace)),
	}
}

// open reads an input, and says whether it could.
func (v *view) open(in *admission.Input) bool {
	v.in = in
	return v.read(in.Request, v.names.request, v.request) == nil && v.read(in.Facts.Workspace, v.names.workspace, v.workspace) == nil
}

func (v *view) close() {
	v.in, v.text = nil, bytes.Buffer{}
	clear(v.request)
	clear(v.workspace)
}

func (v *view) read(text jsontext.Value, names map[string]int, into []ast.Value) error {
	v.text = *bytes.NewBuffer(text)
	v.decoder.Reset(&v.text, jsontext.AllowDuplicateNames(true))
	token, err := v.decoder.ReadToken()
	if err != nil {
		return err
	}
	if token.Kind() != '{' {
		return errNoObject
	}
	for v.decoder.PeekKind() != '}' {
		name, err := v.decoder.ReadValue()
		if err != nil {
			return err
		}
		place, wanted := names[string(name[1:len(name)-1])]
		if bytes.IndexByte(name, '\\') >= 0 {
			unquoted, err := jsontext.AppendUnquote(nil, name)
			if err != nil {
				return err
			}
			place, wanted = names[string(unquoted)]
		}
		if !wanted {
			err = v.decoder.SkipValue()
		} else {
			into[place], err = v.value()
		}
		if err != nil {
			return err
		}
	}
	_, err = v.decoder.ReadToken()
	if err != nil {
		return err
	}
	return regoval.AtEnd(v.decoder)
}

func (v *view) value() (ast.Value, error) {
	term, err := regoval.Read(v.decoder)
	if err != nil {
		return nil, err
	}
	return term.Value, nil
}

// Resolve gives the value at ref; nil when there is none.
func (v *view) Resolve(ref ast.Ref) (ast.Value, error) {
	if ref[0].Equal(ast.DefaultRootDocument) {
		return resolveStored(v.data, ref[1:])
	}
	if !ref[0].Equal(ast.InputRootDocument) || len(ref) < 2 {
		return nil, ast.UnknownValueErr{}
	}
	name, _ := ref[1].Value.(ast.String)
	switch name {
	case "request":
		return named(v.names.request, v.request, ref[2:])
	case "facts":
		return v.fact(ref[2:])
	case "url":
		return v.url(ref[2:])
	case "hook":
		return scalar(ast.String(v.in.Hook), ref[2:])
	case "caller_proof":
		return scalar(ast.String(v.in.CallerProof), ref[2:])
	case "dry_run":
		return scalar(ast.Boolean(v.in.DryRun), ref[2:])
	case "deployment":
		if isMember(ref[2:], "saas") {
			return ast.Boolean(v.in.Deployment.SaaS), nil
		}
	}
	return nil, ast.UnknownValueErr{}
}

func resolveStored(data ast.Value, path ast.Ref) (ast.Value, error) {
	value, found := stored(data, path)
	if found == unknown {
		return nil, ast.UnknownValueErr{}
	}
	return value, nil
}

func (v *view) fact(path ast.Ref) (ast.Value, error) {
	if len(path) == 0 {
		return nil, ast.UnknownValueErr{}
	}
	name, _ := path[0].Value.(ast.String)
	switch name {
	case "workspace":
		return named(v.names.workspace, v.workspace, path[1:])
	case "exists":
		return scalar(ast.Boolean(v.in.Facts.Exists), path[1:])
	case "secret_keys":
		return find(regoval.Set(v.in.Facts.SecretKeys).Value, path[1:]), nil
	case "global_secret_keys":
		return find(regoval.Set(v.in.Facts.GlobalSecretKeys).Value, path[1:]), nil
	}
	return nil, ast.UnknownValueErr{}
}

func (v *view) url(path ast.Ref) (ast.Value, error) {
	if len(path) == 0 {
		return nil, ast.UnknownValueErr{}
	}
	name, _ := path[0].Value.(ast.String)
	switch name {
	case "valid":
		return scalar(ast.Boolean(v.in.URL.Valid), path[1:])
	case "userinfo":
		return scalar(ast.Boolean(v.in.URL.Userinfo), path[1:])
	case "scheme":
		return scalar(ast.String(v.in.URL.Scheme), path[1:])
	case "host":
		return scalar(ast.String(v.in.URL.Host), path[1:])
	case "ip":
		return scalar(ast.String(v.in.URL.IP), path[1:])
	case "port":
		return scalar(ast.InternedTerm(v.in.URL.Port).Value, path[1:])
	}
	return nil, ast.UnknownValueErr{}
}

func scalar(value ast.Value, below ast.Ref) (ast.Value, error) {
	if len(below) > 0 {
		return nil, nil
	}
	return value, nil
}

func isMember(path ast.Ref, name string) bool {
	return len(path) == 1 && path[0].Value == ast.String(name)
}

func named(names map[string]int, values []ast.Value, path ast.Ref) (ast.Value, error) {
	if len(path) == 0 {
		return nil, ast.UnknownValueErr{}
	}
	name, isText := path[0].Value.(ast.String)
	place, known := names[string(name)]
	if !isText || !known {
		return nil, ast.UnknownValueErr{}
	}
	value := values[place]
	if value == nil {
		return nil, nil
	}
	return find(value, path[1:]), nil
}

func find(value ast.Value, path ast.Ref) ast.Value {
	if len(path) == 0 {
		return value
	}
	found, err := value.Find(path)
	if err != nil {
		return nil
	}
	return found
}
