package sinks

import (
	"fmt"
	"net/url"
	"strings"
	"time"
	"unicode"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/uuid"
)

const (
	// cloudEventsMediaType is that of a CloudEvent in structured mode.
	cloudEventsMediaType = "application/cloudevents+json"
	DefaultSource        = "gatehouse"
)

// cloudEvent is a CloudEvents 1.0 event in the JSON format. The CloudEvents SDK is
// not used for it: these lines are all that is needed, and the SDK brings a
// second JSON library, a logger and a megabyte of program.
type cloudEvent struct {
	SpecVersion     string    `json:"specversion"`
	ID              string    `json:"id"`
	Source          string    `json:"source"`
	Type            string    `json:"type"`
	Subject         string    `json:"subject"`
	Time            time.Time `json:"time"`
	DataContentType string    `json:"datacontenttype"`

	// Extensions; an attribute without a value is left out.
	Sequence   string `json:"sequence,omitzero"`
	DecisionID string `json:"decisionid,omitzero"`
	Hook       string `json:"hook,omitzero"`
	Code       string `json:"code,omitzero"`

	Data jsontext.Value `json:"data"`
}

// newCloudEvent is job's event, with the registry's own message as its data.
func newCloudEvent(job Job, source string) ([]byte, error) {
	event := cloudEvent{
		SpecVersion:     "1.0",
		ID:              job.EventID.String(),
		Source:          source,
		Type:            EventType(job.Event),
		Subject:         job.WorkspaceID.String(),
		Time:            job.CreatedAt.UTC(),
		DataContentType: "application/json",
		Sequence:        sequence(job.Sequence),
		Hook:            job.Hook,
		Code:            job.Code,
		Data:            jsontext.Value(job.Message),
	}
	if job.DecisionID != uuid.Nil {
		event.DecisionID = job.DecisionID.String()
	}
	text, err := json.Marshal(event)
	if err != nil {
		return nil, fmt.Errorf("writing the CloudEvent: %w", err)
	}
	return text, nil
}

// CheckSource refuses what CloudEvents does not take for a source of events: it
// must be a URI reference (RFC 3986) and not empty.
func CheckSource(source string) error {
	const others = "-._~:/?#[]@!$&'()*+,;=%"
	_, err := url.Parse(source)
	if err != nil || source == "" || strings.ContainsFunc(source, func(r rune) bool {
		return r > unicode.MaxASCII || !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune(others, r)
	}) {
		return fmt.Errorf("the source of events, %q, is not a URI reference such as /eu/gatehouse or https://gatehouse.example.com", source)
	}
	return nil
}

// EventType is the CloudEvents type of one of the registry's events:
// WORKSPACE_PROVISION_FAILED is gatehouse.workspace.provision_failed.
func EventType(event string) string {
	return "gatehouse." + strings.Replace(strings.ToLower(event), "_", ".", 1)
}

// sequence is padded, because the sequence extension wants strings whose
// alphabetical order is that of the numbers.
func sequence(number int64) string {
	if number == 0 {
		return ""
	}
	return fmt.Sprintf("%019d", number)
}
