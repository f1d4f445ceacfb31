package announce

import (
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/google/uuid"

	"github.com/molecule-ai/gatehouse/server/admission"
)

// Job is one event on its way to one sink.
type Job struct {
	EventID     uuid.UUID `json:"event_id"` // the same for all sinks and all attempts
	Sink        string    `json:"sink"`
	WorkspaceID uuid.UUID `json:"workspace_id"`
	// What goes into a CloudEvent besides the message.
	DecisionID uuid.UUID `json:"decision_id"`
	Event      string    `json:"event"`
	Hook       string    `json:"hook"`
	Code       string    `json:"code"`
	Sequence   int64     `json:"sequence"`
	// Message is the event's JSON exactly as it goes out. It is kept as a text
	// because jsonb would reorder its members.
	Message   string    `json:"message"`
	CreatedAt time.Time `json:"created_at"`
}

const kind = "announcement"

// Kind is River's name for what a job is.
func (Job) Kind() string { return kind }

func newJobs(event admission.Event, sinks []string) ([]Job, error) {
	event.Timestamp = event.Timestamp.UTC()
	message, err := json.Marshal(event)
	if err != nil {
		return nil, fmt.Errorf("writing the message of event %s: %w", event.ID, err)
	}
	jobs := make([]Job, len(sinks))
	for i, sink := range sinks {
		jobs[i] = Job{
			EventID: event.ID, Sink: sink, WorkspaceID: event.WorkspaceID,
			DecisionID: event.DecisionID, Event: event.Event, Hook: event.Hook,
			Code: event.Payload.Code, Sequence: event.Sequence,
			Message: string(message), CreatedAt: event.Timestamp,
		}
	}
	return jobs, nil
}

// queuePrefix and the name of a sink make a queue's name, of which River takes
// 64 characters.
const (
	queuePrefix       = "announcements_"
	maxSinkNameLength = 64 - len(queuePrefix)
)

func queueOf(sink string) string { return queuePrefix + sink }

func sinkOf(queue string) string { return strings.TrimPrefix(queue, queuePrefix) }

// checkSinkNames keeps two sinks from sharing a queue, and names that River
// refuses from being found out when the first event is announced.
func checkSinkNames(names []string) error {
	valid := regexp.MustCompile(`^[a-z0-9]+([_-][a-z0-9]+)*$`)
	seen := make(map[string]bool, len(names))
	for _, name := range names {
		if len(name) > maxSinkNameLength || !valid.MatchString(name) {
			return fmt.Errorf("sink name %q: want at most %d lower-case letters and digits, separated by - or _",
				name, maxSinkNameLength)
		}
		if name == OtherSinks {
			return fmt.Errorf("sink name %q is taken for sinks that are not configured", name)
		}
		if seen[name] {
			return fmt.Errorf("sink name %q is used twice", name)
		}
		seen[name] = true
	}
	return nil
}
