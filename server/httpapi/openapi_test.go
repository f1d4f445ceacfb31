package httpapi_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/molecule-ai/gatehouse/server/admission"
	"github.com/molecule-ai/gatehouse/server/admission/decode"
	"github.com/molecule-ai/gatehouse/server/httpapi"
	"github.com/molecule-ai/gatehouse/server/httpapi/auth"
	"github.com/molecule-ai/gatehouse/server/httpapi/resources"
	"github.com/molecule-ai/gatehouse/server/replay"
	"github.com/molecule-ai/gatehouse/server/stream"
)

// contract is the OpenAPI document as a service serves it.
type contract struct {
	root     any
	compiler *jsonschema.Compiler
}

func contractOf(t *testing.T, s *service) *contract {
	t.Helper()
	got := s.send(http.MethodGet, "/openapi.json", "")
	require.Equal(t, 200, got.status)
	require.Equal(t, "application/json", got.header.Get("Content-Type"))
	root, err := jsonschema.UnmarshalJSON(strings.NewReader(got.body))
	require.NoError(t, err)
	c := &contract{root: root, compiler: jsonschema.NewCompiler()}
	c.compiler.AssertFormat()
	require.NoError(t, c.compiler.AddResource("openapi.json", root))
	return c
}

// validate holds value to the schema at a JSON pointer into the document.
func (c *contract) validate(pointer string, value any) error {
	schema, err := c.compiler.Compile("openapi.json#" + (&url.URL{Fragment: pointer}).EscapedFragment())
	if err != nil {
		return err
	}
	return schema.Validate(value)
}

func (c *contract) validateText(pointer, text string) error {
	value, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
	if err != nil {
		return err
	}
	return c.validate(pointer, value)
}

// at gives what is at a JSON pointer, and the pointer to it once references are followed.
func (c *contract) at(pointer string) (any, string) {
	node := c.root
	for name := range strings.SplitSeq(strings.TrimPrefix(pointer, "/"), "/") {
		object, _ := node.(map[string]any)
		node = object[strings.NewReplacer("~1", "/", "~0", "~").Replace(name)]
	}
	if object, isObject := node.(map[string]any); isObject {
		if ref, isRef := object["$ref"].(string); isRef {
			return c.at(strings.TrimPrefix(ref, "#"))
		}
	}
	return node, pointer
}

func (c *contract) object(pointer string) (map[string]any, string) {
	node, pointer := c.at(pointer)
	object, _ := node.(map[string]any)
	return object, pointer
}

func escaped(name string) string { return strings.NewReplacer("~", "~0", "/", "~1").Replace(name) }

// path finds the documented path that a request's path is one of, "" if there is none.
func (c *contract) path(requested string) string {
	paths, _ := c.object("/paths")
	if _, exactly := paths[requested]; exactly {
		return requested
	}
	for path := range paths {
		pattern := regexp.MustCompile(`\\\{\w+\\\}`).ReplaceAllString(regexp.QuoteMeta(path), "[^/]+")
		if regexp.MustCompile("^" + pattern + "$").MatchString(requested) {
			return path
		}
	}
	return ""
}

// held makes every exchange of the service an error that the document does not describe: its status, media type,
// headers and body, and the body of a request that was taken.
func held(t *testing.T, s *service) *service {
	t.Helper()
	s.Client().Transport = &holder{contract: contractOf(t, s), next: s.Client().Transport}
	return s
}

type holder struct {
	contract *contract
	next     http.RoundTripper
}

func (h *holder) RoundTrip(request *http.Request) (*http.Response, error) {
	var sent []byte
	if request.Body != nil {
		var err error
		sent, err = io.ReadAll(request.Body)
		if err != nil {
			return nil, err
		}
		request.Body = io.NopCloser(bytes.NewReader(sent))
	}
	response, err := h.next.RoundTrip(request)
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, err
	}
	response.Body = io.NopCloser(bytes.NewReader(body))
	err = h.contract.describes(request, string(sent), response, string(body))
	if err != nil {
		return nil, fmt.Errorf("%d %s is not as documented: %w", response.StatusCode, body, err)
	}
	return response, nil
}

func (c *contract) describes(request *http.Request, sent string, response *http.Response, body string) error {
	if request.Method == http.MethodHead {
		return nil // what GET answers, without the body to look at
	}
	path := c.path(request.URL.EscapedPath())
	if path == "" {
		return c.validateText("/components/responses/UnknownWorkspace/content/application~1problem+json/schema", body) // not_found
	}
	at := "/paths/" + escaped(path) + "/" + strings.ToLower(request.Method)
	operation, _ := c.object(at)
	if operation == nil {
		return c.answers("/components/responses/MethodNotAllowed", response, body)
	}
	if response.StatusCode < 300 && sent != "" {
		err := c.validateText(at+"/requestBody/content/application~1json/schema", sent)
		if err != nil {
			return fmt.Errorf("the request that was taken: %w", err)
		}
	}
	responses, _ := operation["responses"].(map[string]any)
	key := strconv.Itoa(response.StatusCode)
	if _, documented := responses[key]; !documented {
		key = key[:1] + "XX"
	}
	return c.answers(at+"/responses/"+key, response, body)
}

// answers holds an answer to the response at a pointer.
func (c *contract) answers(pointer string, response *http.Response, body string) error {
	documented, pointer := c.object(pointer)
	if documented == nil {
		return errors.New("its status is not documented")
	}
	headers, _ := documented["headers"].(map[string]any)
	for name := range headers {
		header, at := c.object(pointer + "/headers/" + name)
		if response.Header.Get(name) == "" {
			if header["required"] == true {
				return fmt.Errorf("it has no header %s", name)
			}
			continue
		}
		value, _ := c.object(at + "/schema")
		var sent any = response.Header.Get(name)
		if value["type"] == "integer" {
			sent, _ = strconv.Atoi(response.Header.Get(name))
		}
		err := c.validate(at+"/schema", sent)
		if err != nil {
			return fmt.Errorf("header %s: %w", name, err)
		}
	}
	for _, name := range []string{"Retry-After", "WWW-Authenticate", "Location"} {
		if _, said := headers[name]; !said && response.Header.Get(name) != "" {
			return fmt.Errorf("it has a header %s", name)
		}
	}
	content, _ := documented["content"].(map[string]any)
	if len(content) == 0 {
		if body != "" {
			return errors.New("it has a body")
		}
		return nil
	}
	media, _, err := mime.ParseMediaType(response.Header.Get("Content-Type"))
	if err != nil {
		return err
	}
	if _, documented := content[media]; !documented {
		return fmt.Errorf("its media type is %s", media)
	}
	if !strings.HasSuffix(media, "json") {
		return nil
	}
	return c.validateText(pointer+"/content/"+escaped(media)+"/schema", body)
}

// sinksPage is a page of announcements as the queue gives it.
type sinksPage resources.AnnouncementPage

func (p sinksPage) ListAnnouncements(_ context.Context, filter resources.AnnouncementFilter) (resources.AnnouncementPage, error) {
	switch filter.Sink {
	case "strange":
		return resources.AnnouncementPage{}, resources.ErrBadFilter
	case "away":
		return resources.AnnouncementPage{}, errHidden
	}
	return resources.AnnouncementPage(p), nil
}

// oneEvent is a source that ends after one event.
type oneEvent struct{ *admission.Event }

func (e oneEvent) Subscribe(_ context.Context, after int64) (func(context.Context) ([]stream.Streamed[admission.Event], error), error) {
	if after > 1<<40 {
		return nil, admission.Malformed("the ledger does not reach there")
	}
	given := false
	return func(context.Context) ([]stream.Streamed[admission.Event], error) {
		if given {
			return nil, io.EOF
		}
		given = true
		return []stream.Streamed[admission.Event]{{Position: 17, Item: e.Event}}, nil
	}, nil
}

// full is a service with everything there can be, held to the document.
func full(t *testing.T, change func(*httpapi.Options)) *service {
	t.Helper()
	return held(t, serve(t, func(o *httpapi.Options) {
		o.Policies = catalogue{
			Disagreement: &resources.PolicyDisagreement{At: time.Now().UTC(), DecisionID: uuid.New(), Rules: []string{"a"}},
			Revision:     "sha256:0011", Source: "embedded", Since: time.Now(), AgeSeconds: 1, Hooks: []string{"register"},
			Rules: []admission.Rule{
				{Name: "a", Package: "admission.lib", File: "lib/a.rego", Row: 1, Title: "A", Description: "A.", Code: "A", Severity: admission.Low, Status: 400},
				{Name: "b", Package: "admission.lib", File: "lib/b.rego", Row: 9, Title: "B", Description: "B.", Code: "B", Severity: admission.High, Status: 409, MarkFailed: true, Answer: "b"},
			},
			Refused: &resources.PolicyRefusal{Source: "policies", At: time.Now(), Reason: "it does not parse"},
		}
		o.Shadow = &candidateDouble{}
		o.Announcements = sinksPage{Announcements: []any{}, Sinks: []any{}}
		denied, err := deny(t.Context(), admission.Review{Hook: "register", WorkspaceID: uuid.MustParse(workspaceID)})
		require.NoError(t, err)
		denied.Event.Sequence = 1
		denied.CallerProof, denied.Kind, denied.Input = admission.Token, "platform", []byte(`{"hook": "register"}`)
		o.Events = oneEvent{denied.Event}
		o.Decisions = recorded{denied, failedDecision()}
		o.DecisionStream = oneDecision{&denied}
		o.Audits = auditsOf(denied)
		o.Replays = resources.ReplayOptions{RunsOptions: replay.RunsOptions{Records: &archive{}, Now: time.Now, Logger: o.Logger}, Policies: candidates{}}
		if change != nil {
			change(o)
		}
	}))
}

func TestAnswersOfReviewsAreAsDocumented(t *testing.T) {
	s := full(t, nil)
	require.Equal(t, 200, s.register(registerBody).status)
	require.Equal(t, 200, s.register(withMembers(`"uid": "u-1", "caller_proof": "install"`)).status)

	s = full(t, func(o *httpapi.Options) { o.Reviewer = reviewer(deny) })
	require.Contains(t, s.register(withMembers(`"uid": "u-1"`)).body, `"event":{`)
	require.Contains(t, s.register(withMembers(`"dry_run": true`)).body, `"event":null`)
	require.Equal(t, 400, s.relay(payload).status)

	s = full(t, func(o *httpapi.Options) {
		o.Reviewer = reviewer(func(ctx context.Context, r admission.Review) (admission.Decision, error) {
			switch r.UID {
			case "bad":
				panic("the engine broke")
			case "denied":
				return deny(ctx, r)
			case "failed":
				return admission.Decision{}, &admission.Error{Code: admission.CodeFactsUnavailable, Detail: "away"}
			default:
				return allow(ctx, r)
			}
		})
	})
	got := s.batch(registerBody, withMembers(`"uid": "bad"`), withMembers(`"uid": "denied"`), withMembers(`"uid": "failed"`))
	require.Equal(t, 200, got.status)
	require.Equal(t, 2, strings.Count(got.body, `"error":{"type"`))
}

func TestErrorsAreAsDocumented(t *testing.T) {
	for _, row := range errorTable {
		s := full(t, func(o *httpapi.Options) {
			o.Reviewer = failing(&admission.Error{Code: row.code, Detail: "what may be known", Err: errHidden})
		})
		require.Equal(t, row.status, s.register(registerBody).status)
		require.GreaterOrEqual(t, s.relay(payload).status, 400)
	}
	s := full(t, func(o *httpapi.Options) { o.MaxBodyBytes, o.MaxBatchBytes = 512, 512 })
	long := registerBody + strings.Repeat(" ", 512)
	for _, send := range []func(body string, headers ...string) answered{s.register, s.relay, s.batchBody, s.putWorkspace} {
		require.Equal(t, 413, send(long).status)
		require.Equal(t, 415, send(registerBody, "Content-Type", "text/plain").status)
		require.Equal(t, 400, send(`{`).status)
	}
	s = full(t, func(o *httpapi.Options) { o.MaxInFlight = 0 })
	for _, send := range []func(body string, headers ...string) answered{s.register, s.batchBody, s.putWorkspace} {
		require.Equal(t, 503, send(registerBody).status)
	}
	require.Equal(t, 500, s.relay(payload).status)
	require.Equal(t, 404, s.send(http.MethodGet, "/nowhere", "").status)
	require.Equal(t, 405, s.send(http.MethodPut, "/healthz", "").status)
}

func (s *service) batchBody(body string, headers ...string) answered {
	s.t.Helper()
	return s.send(http.MethodPost, "/v1/admission/register/batch", body, headers...)
}

func (s *service) putWorkspace(body string, headers ...string) answered {
	s.t.Helper()
	return s.send(http.MethodPut, workspacePath, body, headers...)
}

func TestRateLimitIsAsDocumented(t *testing.T) {
	s := full(t, func(o *httpapi.Options) { o.RateLimit = 1 })
	require.Eventually(t, func() bool { return s.register(registerBody).status == 429 }, patience, time.Millisecond)
	require.Eventually(t, func() bool { return s.relay(payload).status == 429 }, patience, time.Millisecond)
}

func TestWorkspaceRoutesAreAsDocumented(t *testing.T) {
	s := full(t, nil)
	for _, body := range []string{`{}`, `{"name": "concierge", "kind": "platform", "status": null, "tier": 2, "parent_id": null}`} {
		require.Equal(t, 204, s.putWorkspace(body).status)
	}
	require.Equal(t, 204, s.send(http.MethodPut, workspacePath+"/secrets/MODEL", "").status)
	require.Equal(t, 204, s.send(http.MethodDelete, workspacePath+"/secrets/A%2FB", "").status)
	require.Equal(t, 204, s.send(http.MethodDelete, workspacePath, "").status)
	require.Equal(t, 400, s.send(http.MethodPut, workspacePath+"/secrets/MODEL", `{"value": "sk-planted"}`).status)

	for _, store := range []*memory{{}, {fail: errHidden}, {fail: resources.ErrUnknownWorkspace}} {
		s = full(t, func(o *httpapi.Options) { o.Workspaces, o.SecretKeys = store, store })
		for _, path := range []string{workspacePath, workspacePath + "/secrets/MODEL"} {
			s.send(http.MethodDelete, path, "")
		}
		s.send(http.MethodPut, workspacePath+"/secrets/MODEL", "")
	}
	s = full(t, func(o *httpapi.Options) { o.Workspaces, o.SecretKeys = nil, nil })
	require.Equal(t, 403, s.putWorkspace(`{}`).status)
}

func TestReadRoutesAreAsDocumented(t *testing.T) {
	s := full(t, nil)
	for _, path := range []string{"/v1/policies", "/v1/policies/shadow", "/v1/policies/shadow?examples=0", "/healthz", "/readyz", "/metrics", "/openapi.json", "/v1/announcements"} {
		require.Equal(t, 200, s.send(http.MethodGet, path, "").status, path)
	}
	require.Equal(t, 400, s.send(http.MethodGet, "/v1/announcements?limit=1001", "").status)
	require.Equal(t, 400, s.send(http.MethodGet, "/v1/announcements?sink=strange", "").status)
	require.Equal(t, 500, s.send(http.MethodGet, "/v1/announcements?sink=away", "").status)

	got := s.send(http.MethodGet, "/v1/events/stream?code="+identityGate.Code+"&workspace_id="+workspaceID, "")
	require.Equal(t, 200, got.status)
	_, data, found := strings.Cut(got.body, "data: ")
	require.True(t, found, got.body)
	data, _, _ = strings.Cut(data, "\n")
	require.NoError(t, contractOf(t, s).validateText("/components/schemas/StreamedEvent", data), data)
	require.Equal(t, 400, s.send(http.MethodGet, "/v1/events/stream", "", "Last-Event-ID", "x").status)
	require.Equal(t, 400, s.send(http.MethodGet, "/v1/events/stream?last_event_id=9000000000000000", "").status)

	for _, path := range []string{
		"/v1/decisions", "/v1/decisions?input=true&limit=1", "/v1/decisions?failed=true", "/v1/decisions/" + decisionID, "/v1/decisions/summary",
	} {
		require.Equal(t, 200, s.send(http.MethodGet, path, "").status, path)
	}
	require.Equal(t, 400, s.send(http.MethodGet, "/v1/decisions?limit=1001", "").status)
	require.Equal(t, 404, s.send(http.MethodGet, "/v1/decisions/"+unknownID, "").status)
	require.Equal(t, 500, s.send(http.MethodGet, "/v1/decisions?hook=away", "").status)
	got = s.send(http.MethodGet, "/v1/decisions/stream?input=true", "")
	require.Equal(t, 200, got.status)
	_, data, found = strings.Cut(got.body, "data: ")
	require.True(t, found, got.body)
	data, _, _ = strings.Cut(data, "\n")
	require.NoError(t, contractOf(t, s).validateText("/components/schemas/RecordedDecision", data), data)
	require.Equal(t, 400, s.send(http.MethodGet, "/v1/decisions/stream?limit=1", "").status)

	s = full(t, func(o *httpapi.Options) { o.Policies = catalogue{} })
	require.Equal(t, 503, s.send(http.MethodGet, "/v1/policies", "").status)
	s.server.Drain()
	require.Equal(t, 503, s.send(http.MethodGet, "/readyz", "").status)
	require.Equal(t, 503, s.send(http.MethodGet, "/v1/events/stream", "").status)
}

func TestOpenAPIRolesAndExamplesHold(t *testing.T) {
	s := full(t, func(o *httpapi.Options) {
		o.Authenticator.Use([]auth.Token{
			token(t, "eu", auth.RoleRegistry, registryToken),
			token(t, "ada", auth.RoleAuthor, authorToken),
			token(t, "vic", auth.RoleViewer, viewerToken),
		})
	})
	c := contractOf(t, s)
	fill := strings.NewReplacer("/v1/replays/{id}", s.replayOf(authorToken), "{hook}", "register", "{id}", workspaceID, "{key}", "MODEL")
	paths, _ := c.object("/paths")
	for path := range paths {
		item, _ := c.object("/paths/" + escaped(path))
		for method := range item {
			operation, _ := c.object("/paths/" + escaped(path) + "/" + method)
			if operation == nil {
				continue // what the operations of a path share
			}
			body := c.exampleBody(t, "/paths/"+escaped(path)+"/"+method)
			roles, open := c.rolesOf(operation)
			for role, presented := range map[string]string{"": "", "registry": registryToken, "author": authorToken, "viewer": viewerToken} {
				var headers []string
				if role != "" {
					headers = []string{"Authorization", "Bearer " + presented}
				}
				got := s.send(strings.ToUpper(method), fill.Replace(path), body, headers...)
				switch {
				case open || slices.Contains(roles, role):
					require.Less(t, got.status, 300, "%s %s as %q: %s", method, path, role, got.body)
				case role == "":
					require.Equal(t, 401, got.status, "%s %s: %s", method, path, got.body)
				default:
					require.Equal(t, 403, got.status, "%s %s as %q: %s", method, path, role, got.body)
				}
			}
		}
	}
}

func (c *contract) rolesOf(operation map[string]any) (roles []string, open bool) {
	security, own := operation["security"].([]any)
	if !own {
		root, _ := c.root.(map[string]any)
		security, _ = root["security"].([]any)
	}
	for _, alternative := range security {
		for _, role := range alternative.(map[string]any)["bearer"].([]any) {
			roles = append(roles, role.(string))
		}
	}
	return roles, len(security) == 0
}

// exampleBody is an example of the body of the operation at a pointer, "" if it takes none.
func (c *contract) exampleBody(t *testing.T, pointer string) string {
	t.Helper()
	media, _ := c.object(pointer + "/requestBody/content/application~1json")
	if media == nil {
		return ""
	}
	example := media["example"]
	if several, _ := media["examples"].(map[string]any); several != nil {
		example = several["register"].(map[string]any)["value"]
	}
	require.NotNil(t, example, pointer)
	body, err := json.Marshal(example)
	require.NoError(t, err)
	return string(body)
}

func TestOpenAPIExamplesMatchTheirSchemas(t *testing.T) {
	c := contractOf(t, serve(t, nil))
	checked := 0
	var visit func(at string, node any)
	visit = func(at string, node any) {
		switch node := node.(type) {
		case map[string]any:
			example, given := node["example"]
			if given && !strings.HasSuffix(at, "/properties") { // where it is a member of this name
				require.NoError(t, c.validate(at+"/schema", example), at)
				checked++
			}
			switch examples := node["examples"].(type) {
			case []any: // of a schema
				for _, example := range examples {
					require.NoError(t, c.validate(at, example), at)
					checked++
				}
			case map[string]any: // of a body
				if _, isProperty := examples["type"]; isProperty { // that has this name
					break
				}
				for name, example := range examples {
					require.NoError(t, c.validate(at+"/schema", example.(map[string]any)["value"]), at+": "+name)
					checked++
				}
			}
			for name, member := range node {
				visit(at+"/"+escaped(name), member)
			}
		case []any:
			for i, entry := range node {
				visit(at+"/"+strconv.Itoa(i), entry)
			}
		}
	}
	visit("", c.root)
	require.Greater(t, checked, 20)
}

// testdata/openapi-3.1.schema.json is the OpenAPI Initiative's own (2021-04-15, Apache License 2.0).
func TestOpenAPIMatchesTheOfficialSchema(t *testing.T) {
	text, err := os.ReadFile("testdata/openapi-3.1.schema.json")
	require.NoError(t, err)
	schema, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	require.NoError(t, err)
	compiler := jsonschema.NewCompiler()
	require.NoError(t, compiler.AddResource("openapi-3.1.schema.json", schema))
	compiled, err := compiler.Compile("openapi-3.1.schema.json")
	require.NoError(t, err)
	c := contractOf(t, serve(t, nil))
	require.NoError(t, compiled.Validate(c.root))
	delete(c.root.(map[string]any), "info")
	require.Error(t, compiled.Validate(c.root))
}

// Client generators disagree about an object without additionalProperties. So every object declares it.
func TestOpenAPIObjectsDeclareAdditionalProperties(t *testing.T) {
	c := contractOf(t, serve(t, nil))
	var visit func(at string, node any)
	visit = func(at string, node any) {
		switch node := node.(type) {
		case map[string]any:
			kinds := fmt.Sprint(node["type"])
			if strings.Contains(kinds, "object") && !strings.HasSuffix(at, "/if") && !strings.HasSuffix(at, "/then") {
				require.Contains(t, node, "additionalProperties", at)
			}
			for name, member := range node {
				visit(at+"/"+escaped(name), member)
			}
		case []any:
			for i, entry := range node {
				visit(at+"/"+strconv.Itoa(i), entry)
			}
		}
	}
	visit("", c.root)
	for _, open := range []string{"/components/schemas/ReviewedWorkspace", "/components/schemas/GivenFacts/properties/workspace"} {
		object, _ := c.object(open)
		require.Equal(t, true, object["additionalProperties"], open)
	}
}

// Some client generators make a member with a default required. So members that a body may leave out have no default.
func TestOpenAPIBodiesHaveNoDefaults(t *testing.T) {
	c := contractOf(t, serve(t, nil))
	schemas, _ := c.object("/components/schemas")
	text, err := json.Marshal(schemas)
	require.NoError(t, err)
	require.NotContains(t, string(text), `"default":`)
}

func TestOpenAPISchemasAreUsed(t *testing.T) {
	c := contractOf(t, serve(t, nil))
	text, err := json.Marshal(c.root)
	require.NoError(t, err)
	schemas, _ := c.object("/components/schemas")
	for name := range schemas {
		require.Contains(t, string(text), `"$ref":"#/components/schemas/`+name+`"`)
	}
}

func TestOpenAPISchemasCompile(t *testing.T) {
	c := contractOf(t, serve(t, nil))
	schemas, _ := c.object("/components/schemas")
	require.NotEmpty(t, schemas)
	for name := range schemas {
		_, err := c.compiler.Compile("openapi.json#/components/schemas/" + name)
		require.NoError(t, err, name)
	}
}

// The schemas and the server refuse the same bodies, except for what no schema can express.
func TestOpenAPIRefusesTheBodiesThatTheServerRefuses(t *testing.T) {
	s := serve(t, nil)
	c := contractOf(t, s)
	const review, batch, relay, workspace = "/v1/admission/{hook}", "/v1/admission/{hook}/batch", "/registry/register", "/v1/workspaces/{id}"
	batchOf := func(n int) string { return `{"reviews": [` + numbered(n) + `]}` }
	for _, row := range []struct {
		path, body string
		taken      bool
	}{
		{review, registerBody, true},
		{review, withMembers(`"uid": "` + strings.Repeat("ü", 128) + `"`), true},
		{review, withMembers(`"uid": "` + strings.Repeat("ü", 129) + `"`), false},
		{review, withMembers(`"uid": 1`), false},
		{review, withMembers(`"dry_run": "yes"`), false},
		{review, withMembers(`"caller_proof": "bootstrap"`), true},
		{review, withMembers(`"caller_proof": "oath"`), false},
		{review, withMembers(`"bogus": 1`), false},
		{review, `{}`, false},
		{review, `[]`, false},
		{review, `{"workspace": {}}`, false},
		{review, `{"workspace": {"id": 1}}`, false},
		{review, `{"workspace": {"id": "01890a5d"}}`, false},
		{review, `{"workspace": {"id": "` + workspaceID + `", "url": 1, "kind": [], "agent_card": "x", "extra": {}}}`, true},
		{batch, batchOf(1), true},
		{batch, batchOf(1000), true},
		{batch, batchOf(0), false},
		{batch, batchOf(1001), false},
		{batch, `{"reviews": [{}]}`, false},
		{batch, `{"reviews": [` + registerBody + `], "more": 1}`, false},
		{relay, payload, true},
		{relay, registerBody, false},
		{workspace, `{}`, true},
		{workspace, `{"tier": null, "budget_limit": 1, "status": "awaiting_agent"}`, true},
		{workspace, `{"tier": 1.5}`, false},
		{workspace, `{"kind": "agent"}`, false},
		{workspace, `{"kind": null}`, false},
		{workspace, `{"status": "gone"}`, false},
		{workspace, `{"secrets": ["MODEL"]}`, false},
	} {
		method := http.MethodPost
		if row.path == workspace {
			method = http.MethodPut
		}
		got := s.send(method, strings.NewReplacer("{hook}", "register", "{id}", workspaceID).Replace(row.path), row.body)
		err := c.validateText("/paths/"+escaped(row.path)+"/"+strings.ToLower(method)+"/requestBody/content/application~1json/schema", row.body)
		if row.taken {
			require.Less(t, got.status, 300, row.body)
			require.NoError(t, err, row.body)
		} else {
			require.Equal(t, 400, got.status, row.body)
			require.Error(t, err, row.body)
		}
	}
}

func TestOpenAPIKnowsEverySpellingOfAnID(t *testing.T) {
	c := contractOf(t, serve(t, nil))
	schema, err := c.compiler.Compile("openapi.json#/components/schemas/AnyUUID")
	require.NoError(t, err)
	rapid.Check(t, func(rt *rapid.T) {
		var text strings.Builder
		for range rapid.SampledFrom([]int{8, 8, 8, 8, 7, 9}).Draw(rt, "groups") {
			text.WriteString(rapid.StringMatching("[0-9A-Fa-f]{4}").Draw(rt, "digits"))
			text.WriteString(rapid.SampledFrom([]string{"", "", "", "", "-", "-", "-", "-", "--", "g"}).Draw(rt, "then"))
		}
		id := text.String()
		if rapid.Bool().Draw(rt, "trimmed") {
			id = strings.TrimSuffix(id, "-")
		}
		id = rapid.SampledFrom([]string{"", "", "", "{"}).Draw(rt, "open") + id + rapid.SampledFrom([]string{"", "", "", "}"}).Draw(rt, "close")
		_, err := decode.ParseWorkspaceID(id)
		require.Equal(t, err == nil, schema.Validate(id) == nil, id)
	})
}
