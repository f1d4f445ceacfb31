package httpapi

import (
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/server/admission"
	"github.com/molecule-ai/gatehouse/server/httpapi/auth"
	"github.com/molecule-ai/gatehouse/server/httpapi/respond"
)

// document is what these tests look at of the OpenAPI document; openapi_test.go looks at its schemas.
type document struct {
	OpenAPI string `json:"openapi"`
	Info    struct {
		Title       string `json:"title"`
		Version     string `json:"version"`
		Description string `json:"description"`
	} `json:"info"`
	Tags []struct {
		Name string `json:"name"`
	} `json:"tags"`
	Paths      map[string]map[string]json.RawMessage `json:"paths"`
	Components struct {
		SecuritySchemes map[string]struct {
			Type   string `json:"type"`
			Scheme string `json:"scheme"`
		} `json:"securitySchemes"`
		Schemas struct {
			ErrorCode struct {
				Enum []admission.Code `json:"enum"`
			} `json:"ErrorCode"`
		} `json:"schemas"`
		Parameters map[string]documentedParameter `json:"parameters"`
		Responses  map[string]documentedResponse  `json:"responses"`
	} `json:"components"`
}

type documentedOperation struct {
	OperationID string                        `json:"operationId"`
	Tags        []string                      `json:"tags"`
	Summary     string                        `json:"summary"`
	Security    []map[string][]auth.Role      `json:"security"`
	Parameters  []documentedParameter         `json:"parameters"`
	Responses   map[string]documentedResponse `json:"responses"`
}

type documentedParameter struct {
	Ref      string          `json:"$ref"`
	Name     string          `json:"name"`
	In       string          `json:"in"`
	Required bool            `json:"required"`
	Schema   json.RawMessage `json:"schema"`
}

type documentedResponse struct {
	Ref         string `json:"$ref"`
	Description string `json:"description"`
	Content     map[string]struct {
		Schema struct {
			AllOf []struct {
				Ref        string `json:"$ref"`
				Properties struct {
					Status struct {
						Const int `json:"const"`
					} `json:"status"`
					Code struct {
						Enum []admission.Code `json:"enum"`
					} `json:"code"`
				} `json:"properties"`
			} `json:"allOf"`
		} `json:"schema"`
	} `json:"content"`
}

func readDocument(t *testing.T) document {
	t.Helper()
	var d document
	require.NoError(t, json.Unmarshal(openAPI, &d))
	return d
}

// operations are by method and path, as in "GET /healthz".
func (d document) operations(t *testing.T) map[string]documentedOperation {
	t.Helper()
	found := make(map[string]documentedOperation)
	for path, item := range d.Paths {
		var shared []documentedParameter
		for member, raw := range item {
			if member == "parameters" {
				require.NoError(t, json.Unmarshal(raw, &shared))
			}
		}
		for member, raw := range item {
			if member == "parameters" {
				continue
			}
			var operation documentedOperation
			require.NoError(t, json.Unmarshal(raw, &operation), path)
			operation.Parameters = append(operation.Parameters, shared...)
			found[strings.ToUpper(member)+" "+path] = operation
		}
	}
	return found
}

func (d document) response(t *testing.T, r documentedResponse) documentedResponse {
	t.Helper()
	if r.Ref == "" {
		return r
	}
	name, isComponent := strings.CutPrefix(r.Ref, "#/components/responses/")
	require.True(t, isComponent, r.Ref)
	require.Contains(t, d.Components.Responses, name)
	return d.Components.Responses[name]
}

func TestOpenAPIHasEveryRoute(t *testing.T) {
	var served []string
	eachRoute(t, everyRoute(), func(method, route string) { served = append(served, method+" "+route) })
	require.ElementsMatch(t, served, slices.Collect(maps.Keys(readDocument(t).operations(t))))
}

func TestOpenAPIHasEveryErrorCodeWithItsStatus(t *testing.T) {
	d := readDocument(t)
	require.ElementsMatch(t, declaredCodes(t), d.Components.Schemas.ErrorCode.Enum)

	explained := make(map[admission.Code]bool)
	for name, response := range d.Components.Responses {
		status, codes := problemsOf(t, response)
		for _, code := range codes {
			answered, _ := respond.StatusOf(code)
			require.Equal(t, answered, status, "%s: %s", name, code)
			require.Contains(t, response.Description, fmt.Sprintf("`%s`: ", code), name)
			explained[code] = true
		}
	}
	require.ElementsMatch(t, declaredCodes(t), slices.Collect(maps.Keys(explained)))
}

// problemsOf gives the status and the codes of a response that is a problem.
func problemsOf(t *testing.T, response documentedResponse) (int, []admission.Code) {
	t.Helper()
	media, isProblem := response.Content["application/problem+json"]
	require.True(t, isProblem, response.Description)
	require.Len(t, media.Schema.AllOf, 2, response.Description)
	require.Equal(t, "#/components/schemas/Problem", media.Schema.AllOf[0].Ref)
	only := media.Schema.AllOf[1].Properties
	require.NotEmpty(t, only.Code.Enum, response.Description)
	return only.Status.Const, only.Code.Enum
}

func TestOpenAPIIsWellFormed(t *testing.T) {
	d := readDocument(t)
	require.Regexp(t, `^3\.1\.\d+$`, d.OpenAPI)
	require.NotEmpty(t, d.Info.Title)
	require.NotEmpty(t, d.Info.Version)
	require.Equal(t, "http", d.Components.SecuritySchemes["bearer"].Type)
	require.Equal(t, "bearer", d.Components.SecuritySchemes["bearer"].Scheme)
	var tags []string
	for _, tag := range d.Tags {
		tags = append(tags, tag.Name)
	}

	ids := make(map[string]string)
	for name, operation := range d.operations(t) {
		require.NotEmpty(t, operation.OperationID, name)
		require.Empty(t, ids[operation.OperationID], name)
		ids[operation.OperationID] = name
		require.NotEmpty(t, operation.Summary, name)
		require.NotEmpty(t, operation.Tags, name)
		require.Subset(t, tags, operation.Tags, name)
		for _, alternative := range operation.Security {
			require.Contains(t, alternative, "bearer", name)
			require.Subset(t, []auth.Role{auth.RoleRegistry, auth.RoleAuthor, auth.RoleViewer}, alternative["bearer"], name)
		}
		require.ElementsMatch(t, pathParameters(name), d.inPath(t, operation), name)
		d.requireResponses(t, name, operation)
	}
}

var pathParameter = regexp.MustCompile(`\{(\w+)\}`)

func pathParameters(path string) []string {
	var names []string
	for _, match := range pathParameter.FindAllStringSubmatch(path, -1) {
		names = append(names, match[1])
	}
	return names
}

func (d document) inPath(t *testing.T, operation documentedOperation) []string {
	t.Helper()
	var names []string
	for _, parameter := range operation.Parameters {
		if name, isComponent := strings.CutPrefix(parameter.Ref, "#/components/parameters/"); isComponent {
			parameter = d.Components.Parameters[name]
		}
		require.NotEmpty(t, parameter.Name)
		require.NotEmpty(t, parameter.Schema, parameter.Name)
		if parameter.In == "path" {
			require.True(t, parameter.Required, parameter.Name)
			names = append(names, parameter.Name)
		}
	}
	return names
}

func (d document) requireResponses(t *testing.T, name string, operation documentedOperation) {
	t.Helper()
	succeeds := false
	for status, response := range operation.Responses {
		succeeds = succeeds || strings.HasPrefix(status, "2")
		require.Regexp(t, `^[245]([0-9]{2}|XX)$`, status, name)
		response = d.response(t, response)
		require.NotEmpty(t, response.Description, name)
		if _, isProblem := response.Content["application/problem+json"]; isProblem {
			says, _ := problemsOf(t, response)
			require.Equal(t, status, strconv.Itoa(says), name)
		}
	}
	require.True(t, succeeds, name)
}

func TestOpenAPIReferencesResolve(t *testing.T) {
	var root any
	require.NoError(t, json.Unmarshal(openAPI, &root))
	var follow func(at string, node any)
	follow = func(at string, node any) {
		switch node := node.(type) {
		case map[string]any:
			if ref, isRef := node["$ref"].(string); isRef {
				require.NotNil(t, resolve(root, ref), "%s: %s", at, ref)
			}
			for name, member := range node {
				follow(at+"/"+name, member)
			}
		case []any:
			for i, entry := range node {
				follow(fmt.Sprintf("%s/%d", at, i), entry)
			}
		}
	}
	follow("#", root)
}

func resolve(root any, ref string) any {
	names, isLocal := strings.CutPrefix(ref, "#/")
	if !isLocal {
		return nil
	}
	for name := range strings.SplitSeq(names, "/") {
		object, _ := root.(map[string]any)
		root = object[name]
	}
	return root
}
