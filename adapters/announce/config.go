package announce

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/molecule-ai/gatehouse/adapters/announce/queue"
	"github.com/molecule-ai/gatehouse/adapters/announce/sinks"
	"github.com/molecule-ai/gatehouse/internal/durations"
	"github.com/molecule-ai/gatehouse/internal/suggest"
	"github.com/molecule-ai/gatehouse/internal/yamlfile"
	"github.com/molecule-ai/gatehouse/server/admission"
)

// SinkConfig is one sink as it is configured.
type SinkConfig struct {
	// Name names the sink in the queue, in logs and in metrics. Renaming a sink
	// leaves what waits for it behind under the old name.
	Name string `json:"name"`

	// Events, Hooks and Codes say which events the sink gets; an empty list
	// stands for all of them.
	Events []string `json:"events,omitzero"`
	Hooks  []string `json:"hooks,omitzero"`
	Codes  []string `json:"codes,omitzero"`

	// RetryFor is how long after its first failure an announcement is given up
	// (24h), Timeout how long one attempt may take (10s, at most 20s).
	RetryFor Duration `json:"retry_for,omitzero"`
	Timeout  Duration `json:"timeout,omitzero"`

	// Settings are those of the sink's type.
	Settings sinks.Settings `json:"-"`
}

// maxTimeout is well below rescueAfter: a job that is still tried must not be
// taken for one that a dead process left.
const maxTimeout = 20 * time.Second

// knownEvents bounds the filters: a misspelt event would be one that never comes.
var knownEvents = []string{admission.ProvisionFailed}

// sinkType is a way in which events go out.
type sinkType struct {
	name    string
	members []string // of its settings
	read    func(text jsontext.Value) (sinks.Settings, error)
}

func sinkTypes() []sinkType {
	return []sinkType{newSinkType[sinks.Webhook]("webhook"), newSinkType[sinks.Redis]("redis"), newSinkType[sinks.NATS]("nats")}
}

func newSinkType[T sinks.Settings](name string) sinkType {
	return sinkType{name, yamlfile.FieldsOf(reflect.TypeFor[T]()), func(text jsontext.Value) (sinks.Settings, error) {
		var settings T
		err := json.Unmarshal(text, &settings, json.RejectUnknownMembers(true))
		return settings, err
	}}
}

// RegistrySinkConfig is what a Redis URL alone stands for.
func RegistrySinkConfig(redisURL string) SinkConfig {
	return SinkConfig{Name: sinks.Registry, Settings: sinks.Redis{URL: sinks.Secret(redisURL)}}
}

// SinkConfigs are the sinks of a configuration file. Reading them from JSON is strict
// and checks them.
type SinkConfigs []SinkConfig

// Names are those of the sinks, in order.
func (c SinkConfigs) Names() []string {
	names := make([]string, len(c))
	for i, sink := range c {
		names[i] = sink.Name
	}
	return names
}

// UnmarshalJSON is strict: a misspelt limit must not be a limit that is off.
func (c *SinkConfigs) UnmarshalJSON(text []byte) error {
	var members []jsontext.Value
	err := json.Unmarshal(text, &members)
	if err != nil {
		return fmt.Errorf("sinks: %w", withoutValue(err, nil))
	}
	configs := make(SinkConfigs, len(members))
	for i, member := range members {
		configs[i], err = readSink(member)
		if err != nil {
			return fmt.Errorf("%s: %w", describe(i, nameIn(member)), err)
		}
	}
	err = configs.Validate()
	if err != nil {
		return err
	}
	*c = configs
	return nil
}

// readSink leaves the settings of an unknown type to Validate.
func readSink(text jsontext.Value) (SinkConfig, error) {
	var written struct {
		SinkConfig
		Type     string         `json:"type"`
		Settings jsontext.Value `json:",embed"`
	}
	err := json.Unmarshal(text, &written)
	if err != nil {
		return SinkConfig{}, withoutValue(err, nil)
	}
	config := written.SinkConfig
	for _, known := range sinkTypes() {
		if known.name != written.Type {
			continue
		}
		if written.Settings == nil {
			written.Settings = jsontext.Value("{}")
		}
		config.Settings, err = known.read(written.Settings)
		if err != nil {
			return SinkConfig{}, withoutValue(err, known.members)
		}
	}
	return config, nil
}

// nameIn looks for the name of a sink that could not be read as a whole.
func nameIn(member jsontext.Value) string {
	var named struct {
		Name string `json:"name"`
	}
	err := json.Unmarshal(member, &named)
	if err != nil {
		return ""
	}
	return named.Name
}

func describe(index int, name string) string {
	if name == "" {
		return fmt.Sprintf("sinks[%d]", index)
	}
	return fmt.Sprintf("sink %q", name)
}

// withoutValue keeps what an error of the JSON library says of a member, but not
// the member's value, which may be a secret.
func withoutValue(err error, ofType []string) error {
	var semantic *json.SemanticError
	if !errors.As(err, &semantic) {
		return err
	}
	where := strings.TrimPrefix(string(semantic.JSONPointer), "/")
	var said configError
	switch {
	case errors.Is(err, json.ErrUnknownName):
		return unknownMember(where, ofType)
	case errors.As(err, &said):
		return fmt.Errorf("%s: %w", where, said)
	case where == "":
		return errors.New("want a list of objects")
	default:
		return fmt.Errorf("%s: wrong type of value", where)
	}
}

func unknownMember(name string, ofType []string) error {
	for _, other := range sinkTypes() {
		if slices.Contains(other.members, name) {
			return fmt.Errorf("%s: only for sinks of type %s", name, other.name)
		}
	}
	known := slices.Concat(yamlfile.FieldsOf(reflect.TypeFor[SinkConfig]()), []string{"type"}, ofType)
	meant := suggest.DidYouMean(name, known)
	if meant == "" { // a secret may stand where a name belongs
		return fmt.Errorf("a member is none of a sink's, which are %s", strings.Join(slices.Sorted(slices.Values(known)), ", "))
	}
	return fmt.Errorf("%s is not a member of a sink%s", name, meant)
}

// Validate checks all that can be checked without reading a file or a variable.
// Its errors name the sink and the member, and repeat no secret.
func (c SinkConfigs) Validate() error {
	for i, sink := range c {
		err := queue.CheckSinkNames([]string{sink.Name})
		if err != nil {
			return fmt.Errorf("sinks[%d]: %w", i, err)
		}
		err = sink.validate()
		if err != nil {
			return fmt.Errorf("sink %q: %w", sink.Name, err)
		}
	}
	return queue.CheckSinkNames(c.Names())
}

func (c SinkConfig) validate() error {
	if c.Settings == nil {
		return errors.New("type: want webhook, redis or nats")
	}
	if time.Duration(c.Timeout) > maxTimeout {
		return fmt.Errorf("timeout: at most %s", maxTimeout)
	}
	return errors.Join(c.checkFilter(), c.Settings.Validate())
}

func (c SinkConfig) checkFilter() error {
	for _, event := range c.Events {
		if !slices.ContainsFunc(knownEvents, func(known string) bool { return event == known || event == sinks.EventType(known) }) {
			return fmt.Errorf("events: there is no event %q; there is %s", event, strings.Join(knownEvents, ", "))
		}
	}
	if slices.Contains(c.Hooks, "") {
		return errors.New("hooks: an empty name")
	}
	if slices.Contains(c.Codes, "") {
		return errors.New("codes: an empty code")
	}
	return nil
}

// wants says whether the sink is to get event. Both the registry's name of an
// event and its CloudEvents type are understood.
func (c SinkConfig) wants(event admission.Event) bool {
	named := len(c.Events) == 0 || slices.Contains(c.Events, event.Event) || slices.Contains(c.Events, sinks.EventType(event.Event))
	return named && anyOf(c.Hooks, event.Hook) && anyOf(c.Codes, event.Payload.Code)
}

func anyOf(wanted []string, value string) bool {
	return len(wanted) == 0 || slices.Contains(wanted, value)
}

// configError is a message that repeats no value.
type configError string

func (e configError) Error() string { return string(e) }

// Duration is written as Go writes durations: 90s, 24h.
type Duration time.Duration

// UnmarshalText reads a positive duration.
func (d *Duration) UnmarshalText(text []byte) error {
	read, err := durations.Parse(string(text))
	if err != nil || read <= 0 {
		return configError("want a positive duration with a unit, such as 90s, 24h or 7d")
	}
	*d = Duration(read)
	return nil
}

// MarshalText writes what UnmarshalText reads.
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }
