package announce

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"time"

	"github.com/molecule-ai/gatehouse/adapters/announce/sinks"
)

// Sinks are the sinks of a configuration, with what they hold open.
type Sinks struct {
	sinks  []sinks.Sink
	closer []io.Closer
}

// Open makes the sinks that are configured. It reads the files and variables that
// secrets are in, and needs no receiver to be there.
func Open(configs SinkConfigs, deps sinks.Dependencies) (*Sinks, error) {
	err := configs.Validate()
	if err != nil {
		return nil, err
	}
	if deps.Log == nil {
		deps.Log = slog.New(slog.DiscardHandler)
	}
	deps.Source = cmp.Or(deps.Source, sinks.DefaultSource)
	err = sinks.CheckSource(deps.Source)
	if err != nil {
		return nil, err
	}
	opened := &Sinks{}
	for _, config := range configs {
		sink, err := config.Settings.Open(config.Name, deps)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("sink %q: %w", config.Name, err), opened.Close())
		}
		opened.closer = append(opened.closer, sink)
		opened.sinks = append(opened.sinks, configured{
			Sink: sink, retryFor: time.Duration(config.RetryFor), timeout: time.Duration(config.Timeout),
		})
	}
	return opened, nil
}

// All are the sinks, for a Relay.
func (s *Sinks) All() []sinks.Sink { return slices.Clone(s.sinks) }

// Close ends connections. The relay has to be stopped before.
func (s *Sinks) Close() error {
	var errs []error
	for _, closer := range s.closer {
		errs = append(errs, closer.Close())
	}
	return errors.Join(errs...)
}

// configured is a sink with what its configuration says of its attempts; zero
// values stand for the relay's own.
type configured struct {
	sinks.Sink
	retryFor time.Duration
	timeout  time.Duration
}
