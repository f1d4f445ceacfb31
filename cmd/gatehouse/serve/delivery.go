package serve

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/molecule-ai/gatehouse/adapters/announce"
	"github.com/molecule-ai/gatehouse/adapters/announce/operator"
	"github.com/molecule-ai/gatehouse/adapters/announce/queue"
	"github.com/molecule-ai/gatehouse/adapters/announce/sinks"
	"github.com/molecule-ai/gatehouse/adapters/metrics"
	"github.com/molecule-ai/gatehouse/adapters/migration"
	"github.com/molecule-ai/gatehouse/server/admission"
	"github.com/molecule-ai/gatehouse/server/httpapi/resources"
	"github.com/molecule-ai/gatehouse/server/httpapi/sse"
	"github.com/molecule-ai/gatehouse/server/stream"
)

// stopPatience is how long the relay waits for deliveries under way when it stops.
const stopPatience = 10 * time.Second

// eventStore is what delivering needs of a store.
type eventStore interface {
	sinks.Workspaces
	stream.EventStore
	ListenEvents(ctx context.Context, wake func())
}

// delivery is how events go out: sinks with the relay that works their queues, and the hub of the live stream.
type delivery struct {
	announcements resources.AnnouncementLister
	events        sse.Source[admission.Event]
	stop          func()
}

// startDelivery makes the tables ready and then works the queue and follows the ledger. Both outlive ctx until
// stop, because requests that finish after the signal to stop still announce.
func startDelivery[TTx any](
	ctx context.Context, p *process, queue *queue.Database[TTx], store eventStore, configs announce.SinkConfigs,
	tables *migration.Tables, source string,
) (*delivery, error) {
	view, err := operator.NewAnnouncements(queue, configs.Names())
	if err != nil {
		return nil, err
	}
	opened, err := announce.Open(configs, sinks.Dependencies{Workspaces: store, Source: source, Log: p.log, Report: p.settings})
	if err != nil {
		return nil, err
	}
	counter := metrics.NewAnnouncements(p.registry, configs.Names())
	relay, err := announce.NewRelay(queue, opened.All(), announce.Options{Log: p.log, Observe: counter.Delivered})
	if err != nil {
		return nil, errors.Join(err, opened.Close())
	}
	hub := stream.New(stream.Events(store), stream.Options{Logger: p.log, Listen: store.ListenEvents})
	working := context.WithoutCancel(ctx)
	err = tables.Start(ctx, func() {
		relay.Start(working)
		hub.Start()
	})
	if err != nil {
		return nil, errors.Join(err, opened.Close())
	}
	p.registry.MustRegister(metrics.NewOutboxCollector(outboxStats(view)))
	return &delivery{
		announcements: announcementView{view},
		events:        hub,
		stop: func() {
			limited, cancel := context.WithTimeout(working, stopPatience)
			defer cancel()
			hub.Close()
			err := errors.Join(relay.Stop(limited), opened.Close())
			if err != nil {
				p.log.Warn("stopping deliveries", "error", err)
			}
		},
	}, nil
}

// outboxStats shows the sinks to the metrics.
func outboxStats(view *operator.Announcements) metrics.OutboxStats {
	return func(ctx context.Context) ([]metrics.SinkStats, error) {
		states, err := view.Stats(ctx)
		if err != nil {
			return nil, err
		}
		stats := make([]metrics.SinkStats, len(states))
		for i, state := range states {
			stats[i] = metrics.SinkStats{
				Sink: state.Name, Pending: state.Pending, OldestSeconds: state.OldestSeconds, Dead: state.Dead, Disabled: state.Disabled,
			}
		}
		return stats, nil
	}
}

// announcementView shows the queue to the server.
type announcementView struct {
	announcements *operator.Announcements
}

func (v announcementView) ListAnnouncements(ctx context.Context, filter resources.AnnouncementFilter) (resources.AnnouncementPage, error) {
	state := operator.State(filter.State)
	switch state {
	case "", operator.StatePending, operator.StateRetrying, operator.StateDead, operator.StateDelivered:
	default:
		return resources.AnnouncementPage{}, resources.ErrBadFilter
	}
	page, next, err := v.announcements.List(ctx, operator.Filter{Sink: filter.Sink, State: state, After: filter.Cursor, Limit: filter.Limit})
	if errors.Is(err, operator.ErrBadCursor) {
		return resources.AnnouncementPage{}, resources.ErrBadFilter
	}
	if err != nil {
		return resources.AnnouncementPage{}, err
	}
	sinks, err := v.announcements.Sinks(ctx)
	if err != nil {
		return resources.AnnouncementPage{}, fmt.Errorf("reading the state of the sinks: %w", err)
	}
	return resources.AnnouncementPage{Announcements: page, Next: next, Sinks: sinks}, nil
}
