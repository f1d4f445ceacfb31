package announce

import (
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"slices"
	"time"

	"github.com/molecule-ai/gatehouse/internal/rereadfile"
)

// Dependencies are what sinks need besides their configuration.
type Dependencies struct {
	// Workspaces is asked before liveness keys are deleted.
	Workspaces Workspaces
	// Source is the source of CloudEvents (gatehouse).
	Source string
	Log    *slog.Logger
	// Resolver looks up the hosts of webhooks, RootCAs vouch for them. The
	// system's are taken for nil.
	Resolver *net.Resolver
	RootCAs  *x509.CertPool
	// Report hears of secrets in files that change; nil for nobody.
	Report rereadfile.Reporter
}

func (d Dependencies) withDefaults() Dependencies {
	if d.Source == "" {
		d.Source = defaultSource
	}
	if d.Log == nil {
		d.Log = slog.New(slog.DiscardHandler)
	}
	return d
}

// Sinks are the sinks of a configuration, with what they hold open.
type Sinks struct {
	sinks  []Sink
	closer []io.Closer
}

// Open makes the sinks that are configured. It reads the files and variables that
// secrets are in, and needs no receiver to be there.
func Open(configs SinkConfigs, deps Dependencies) (*Sinks, error) {
	err := configs.Validate()
	if err != nil {
		return nil, err
	}
	deps = deps.withDefaults()
	err = CheckSource(deps.Source)
	if err != nil {
		return nil, err
	}
	opened := &Sinks{}
	for _, config := range configs {
		err = opened.open(config, deps)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("sink %q: %w", config.Name, err), opened.Close())
		}
	}
	return opened, nil
}

// closingSink is what all of this package's sinks are.
type closingSink interface {
	Sink
	io.Closer
}

func (s *Sinks) open(config SinkConfig, deps Dependencies) error {
	var sink closingSink
	var err error
	switch config.Type {
	case TypeWebhook:
		sink, err = newWebhook(config, deps)
	case TypeRedis:
		sink, err = newRedis(config, deps)
	case TypeNATS:
		sink, err = openNATS(config, deps)
	}
	if err != nil {
		return err
	}
	s.closer = append(s.closer, sink)
	s.sinks = append(s.sinks, configured{
		Sink: sink, retryFor: time.Duration(config.RetryFor), timeout: time.Duration(config.Timeout),
	})
	return nil
}

// All are the sinks, for a Relay.
func (s *Sinks) All() []Sink { return slices.Clone(s.sinks) }

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
	Sink
	retryFor time.Duration
	timeout  time.Duration
}
