package announce_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/google/uuid"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/molecule-ai/gatehouse/adapters/announce/sinks"
)

// A receiver of webhooks verifies the signature with the public library, drops what
// is older than what it has of a workspace, and answers 2xx when it has the event
// safely: until then it comes again, with the same id.
func Example_receiver() {
	verifier, err := standardwebhooks.NewWebhook("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
	check(err)
	latest := map[string]string{}
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<20))
		if err != nil || verifier.Verify(body, r.Header) != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		var event struct{ Type, Subject, Sequence string }
		if json.Unmarshal(body, &event) == nil && event.Sequence > latest[event.Subject] {
			latest[event.Subject] = event.Sequence
			fmt.Println(event.Type, event.Subject)
		}
	}))
	defer receiver.Close()

	sink, err := sinks.Webhook{
		URL: sinks.Secret(receiver.URL), AllowPrivate: true,
		Secrets: []sinks.Secret{"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"},
	}.Open("ops", sinks.Dependencies{Source: "gatehouse"})
	check(err)
	defer func() { check(sink.Close()) }()
	job := sinks.Job{
		EventID: uuid.New(), Event: "WORKSPACE_PROVISION_FAILED", Sequence: 1, CreatedAt: time.Now(), Message: "{}",
		WorkspaceID: uuid.MustParse("7b0f6f0e-3c0e-4c43-9d7c-0a4c5a0f7d11"),
	}
	for range 2 {
		check(sink.Deliver(context.Background(), job))
	}
	// Output:
	// gatehouse.workspace.provision_failed 7b0f6f0e-3c0e-4c43-9d7c-0a4c5a0f7d11
}
