package decisionlog

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/molecule-ai/gatehouse/server/admission"
	"github.com/molecule-ai/gatehouse/server/stream"
)

// maxTarget bounds what is held in memory, whatever compression makes of it.
const maxTarget = 8 << 20

// backlog holds the decisions that were read and not yet uploaded, and knows how many fit into one upload.
type backlog struct {
	next   func(ctx context.Context) ([]stream.Streamed[admission.Decision], error)
	events []pendingEvent
	bytes  int // of events, as JSON

	position int64 // the collector has all events up to it
	saved    int64 // the position that the store has

	target int // bytes of JSON that fill one upload, if they compress like the last one
	most   int // events of one upload, while the collector refuses more; 0 for any number
}

// pendingEvent is an event as JSON, and the position that is reached when it is uploaded.
type pendingEvent struct {
	id       uuid.UUID
	json     []byte
	position int64
}

// fill reads until there is enough for one upload, or until linger has passed since the first event came.
func (b *backlog) fill(ctx context.Context, labels map[string]string, linger time.Duration) error {
	waiting := ctx
	for b.bytes < b.target {
		items, err := b.next(waiting)
		if err != nil {
			if waiting.Err() != nil && ctx.Err() == nil {
				return nil
			}
			return err
		}
		err = b.add(items, labels)
		if err != nil {
			return err
		}
		switch {
		case len(b.events) == 0:
			return nil // the position alone has moved
		case waiting == ctx:
			var cancel context.CancelFunc
			waiting, cancel = context.WithTimeout(ctx, linger)
			defer cancel()
		}
	}
	return nil
}

func (b *backlog) add(items []stream.Streamed[admission.Decision], labels map[string]string) error {
	for _, item := range items {
		if item.Item == nil {
			b.reach(item.Position)
			continue
		}
		event := NewEvent(item.Item, labels)
		text, err := event.JSON()
		if err != nil {
			// Only an input may be impossible to write as JSON. It is left out, so that it does not hold up the others.
			event.Input, event.Erased = nil, []string{admission.InputPointer}
			text, err = event.JSON()
		}
		if err != nil {
			return fmt.Errorf("encoding decision %s: %w", item.Item.ID, err)
		}
		b.events = append(b.events, pendingEvent{item.Item.ID, text, item.Position})
		b.bytes += len(text)
	}
	return nil
}

// reach notes a position at which no event is. It counts once the events before it are uploaded.
func (b *backlog) reach(position int64) {
	if len(b.events) == 0 {
		b.position = max(b.position, position)
		return
	}
	b.events[len(b.events)-1].position = position
}

// chunk makes the next upload of the first n events. It is larger than limit only if n is 1.
func (b *backlog) chunk(limit int) (body []byte, n int, err error) {
	size := 0
	for n < len(b.events) && (n == 0 || size+len(b.events[n].json) <= b.target) && (b.most == 0 || n < b.most) {
		size += len(b.events[n].json)
		n++
	}
	for {
		body, err = compress(b.events[:n])
		if err != nil || len(body) <= limit || n == 1 {
			break
		}
		n = (n + 1) / 2
	}
	// The target is a little less than what would fit, because the next events may compress worse.
	b.target = min(max(limit, int(0.9*float64(limit)*float64(size)/float64(len(body)))), maxTarget)
	return body, n, err
}

// compress makes a JSON array of the events. A gzip.Writer keeps its first error, and Close returns it.
func compress(events []pendingEvent) ([]byte, error) {
	var body bytes.Buffer
	w := gzip.NewWriter(&body)
	separator := byte('[')
	for _, event := range events {
		_, _ = w.Write([]byte{separator})
		_, _ = w.Write(event.json)
		separator = ','
	}
	_, _ = w.Write([]byte{']'})
	err := w.Close()
	return body.Bytes(), err
}

// done drops the first n events: the collector has them.
func (b *backlog) done(n int) {
	for _, event := range b.events[:n] {
		b.bytes -= len(event.json)
	}
	b.position = max(b.position, b.events[n-1].position)
	b.events = b.events[n:]
	if len(b.events) == 0 {
		b.events = nil // what was in it can go
	}
}

// split halves the next upload, after one of n events was refused.
func (b *backlog) split(n int) { b.most = max(1, n/2) }

// widen doubles the next upload, after one was taken, until nothing limits it.
func (b *backlog) widen() {
	b.most *= 2
	if b.most > len(b.events) {
		b.most = 0
	}
}
