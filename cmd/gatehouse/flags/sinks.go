package flags

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/alecthomas/kong"

	"github.com/molecule-ai/gatehouse/adapters/announce"
	"github.com/molecule-ai/gatehouse/adapters/announce/sinks"
	"github.com/molecule-ai/gatehouse/cmd/gatehouse/settings"
	"github.com/molecule-ai/gatehouse/internal/yamlfile"
)

// SinkList is the flag of the sinks: a list in the configuration file, or YAML text in a flag or variable.
type SinkList announce.SinkConfigs

// Decode implements kong.MapperValue. Its errors repeat no value.
func (s *SinkList) Decode(ctx *kong.DecodeContext) error {
	value := ctx.Scan.Pop().Value
	if text, isText := value.(string); isText {
		var err error
		value, err = yamlfile.Value("sinks", []byte(text))
		if err != nil {
			return settings.Safe{Problem: err}
		}
	}
	document, err := json.Marshal(value)
	if err != nil {
		return settings.Safe{Problem: errors.New("want a list of objects")}
	}
	var configs announce.SinkConfigs
	err = configs.UnmarshalJSON(document)
	if err != nil {
		return settings.Safe{Problem: err}
	}
	*s = SinkList(configs)
	return nil
}

// EventSinks say who hears of workspaces that are marked failed.
type EventSinks struct {
	RedisURL    string   `type:"secret" name:"redis-url" help:"The registry's Redis: it hears of every workspace marked failed, and loses its liveness keys." placeholder:"redis://…"`
	EventSource string   `help:"The source that CloudEvents have: a URI reference, best another one for each deployment." default:"gatehouse" placeholder:"URI"`
	Sinks       SinkList `help:"Where events go out to: a list, best kept in the configuration file. See docs/operations.md." placeholder:"YAML"`
}

// sinks are those of the list, and the registry's Redis where only its URL is given.
func (f EventSinks) SinkConfigs() (announce.SinkConfigs, error) {
	configs := announce.SinkConfigs(f.Sinks)
	if f.RedisURL != "" {
		configs = append(configs, announce.RegistrySinkConfig(f.RedisURL))
	}
	err := configs.Validate()
	if err != nil {
		return nil, err
	}
	err = sinks.CheckSource(f.EventSource)
	if err != nil {
		return nil, fmt.Errorf("--event-source: %w", err)
	}
	return configs, nil
}
