package announce

import (
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/molecule-ai/gatehouse/internal/durations"
	"github.com/molecule-ai/gatehouse/internal/suggest"
	"github.com/molecule-ai/gatehouse/internal/yamlfile"
)

// SinkConfig is one sink as it is written in the configuration. Members that a
// type does not have must be left out.
type SinkConfig struct {
	// Name names the sink in the queue, in logs and in metrics. Renaming a sink
	// leaves what waits for it behind under the old name.
	Name string   `json:"name"`
	Type SinkType `json:"type"`
	// URL is https:// (webhook), redis:// or rediss:// (redis), or a
	// comma-separated list of nats:// or tls:// (nats); or where to find it, as
	// with all that is Secret.
	URL Secret `json:"url"`

	// Events, Hooks and Codes say which events the sink gets; an empty list
	// stands for all of them.
	Events []string `json:"events,omitzero"`
	Hooks  []string `json:"hooks,omitzero"`
	Codes  []string `json:"codes,omitzero"`

	// RetryFor is how long after its first failure an announcement is given up
	// (24h), Timeout how long one attempt may take (10s, at most 20s).
	RetryFor Duration `json:"retry_for,omitzero"`
	Timeout  Duration `json:"timeout,omitzero"`

	// Secrets sign a webhook's requests, each of them with every one, so that a
	// receiver can be moved from one to the next.
	Secrets []Secret `json:"secrets,omitzero"`
	// AllowPrivate lets a webhook go to addresses that are not public, and without
	// TLS.
	AllowPrivate bool `json:"allow_private,omitzero"`
	// Proxy is what a webhook goes through: http://…, https://… or socks5://…, or
	// environment for what HTTPS_PROXY, HTTP_PROXY and NO_PROXY say. It is the
	// proxy then that looks names up, so that whether an address is public is for
	// the proxy to see to.
	Proxy Secret `json:"proxy,omitzero"`

	// Channel is where redis publishes (events:broadcast).
	Channel string `json:"channel,omitzero"`
	// LivenessKeys says whether the registry's keys of a failed workspace are
	// deleted from this Redis; by default only the sink named registry does so.
	LivenessKeys *bool `json:"liveness_keys,omitzero"`

	// Subject is where nats publishes (gatehouse.events), Stream the JetStream
	// stream that must take it (any).
	Subject string `json:"subject,omitzero"`
	Stream  string `json:"stream,omitzero"`
	// CredentialsFile is a NATS .creds file.
	CredentialsFile string `json:"credentials_file,omitzero"`
}

// SinkType is a way in which events go out.
type SinkType string

// The ways that there are.
const (
	TypeWebhook SinkType = "webhook"
	TypeRedis   SinkType = "redis"
	TypeNATS    SinkType = "nats"
)

// RegistrySinkConfig is what a Redis URL alone stands for.
func RegistrySinkConfig(redisURL string) SinkConfig {
	return SinkConfig{Name: RegistrySink, Type: TypeRedis, URL: Secret(redisURL)}
}

// SinkConfigs are the sinks of a configuration file. Reading them from JSON, or
// through sigs.k8s.io/yaml from YAML, is strict and checks them.
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
		return fmt.Errorf("sinks: %w", withoutValue(err))
	}
	configs := make(SinkConfigs, len(members))
	for i, member := range members {
		err = json.Unmarshal(member, &configs[i], json.RejectUnknownMembers(true))
		if err != nil {
			return fmt.Errorf("%s: %w", describe(i, nameIn(member)), withoutValue(err))
		}
	}
	err = configs.Validate()
	if err != nil {
		return err
	}
	*c = configs
	return nil
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
func withoutValue(err error) error {
	var semantic *json.SemanticError
	if !errors.As(err, &semantic) {
		return err
	}
	where := string(semantic.JSONPointer)
	if where != "" {
		where = where[1:]
	}
	var said configError
	switch {
	case errors.Is(err, json.ErrUnknownName):
		known := yamlfile.FieldsOf(reflect.TypeFor[SinkConfig]())
		meant := suggest.DidYouMean(where[strings.LastIndexByte(where, '/')+1:], known)
		if meant == "" { // a secret may stand where a name belongs
			return fmt.Errorf("a member is none of a sink's, which are %s", strings.Join(known, ", "))
		}
		return fmt.Errorf("%s is not a member of a sink%s", where, meant)
	case errors.As(err, &said):
		return fmt.Errorf("%s: %w", where, said)
	case where == "":
		return errors.New("want a list of objects")
	default:
		return fmt.Errorf("%s: wrong type of value", where)
	}
}

// configError is a message that repeats no value.
type configError string

func (e configError) Error() string { return string(e) }

// Secret is a text that is not shown when it is printed, logged or written. It is
// the text itself, or env:NAME or file:PATH for where to find it.
type Secret string

const hidden = "…"

func (Secret) String() string { return hidden }

// GoString keeps %#v from showing it.
func (Secret) GoString() string { return hidden }

// LogValue keeps log handlers that know no Stringer from showing it.
func (Secret) LogValue() slog.Value { return slog.StringValue(hidden) }

// MarshalText keeps a dump of the configuration from showing it.
func (Secret) MarshalText() ([]byte, error) { return []byte(hidden), nil }

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
