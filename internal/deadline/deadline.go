// Package deadline makes contexts with a deadline whose timer is only started when somebody waits.
package deadline

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// Within is context.WithTimeout for what mostly ends long before it waits for anything: its timer is started when
// somebody asks for Done, and by no one else. A ctx that ends sooner anyway is given back as it is.
func Within(ctx context.Context, limit time.Duration) (context.Context, context.CancelFunc) {
	deadline := time.Now().Add(limit)
	if sooner, limited := ctx.Deadline(); limited && !sooner.After(deadline) {
		return ctx, func() {}
	}
	late := &lateContext{Context: ctx, deadline: deadline}
	return late, late.end
}

// lateContext is a context with a deadline that has no timer until it is waited for.
type lateContext struct {
	context.Context // its parent
	deadline        time.Time

	timed atomic.Pointer[timedContext] // nil until somebody waits
	mutex sync.Mutex                   // of the step from nil, and of ended
	ended bool
}

type timedContext struct {
	context.Context
	cancel context.CancelFunc
}

// Deadline implements context.Context.
func (c *lateContext) Deadline() (time.Time, bool) { return c.deadline, true }

// Done implements context.Context.
func (c *lateContext) Done() <-chan struct{} { return c.wait().Done() }

// Err implements context.Context.
func (c *lateContext) Err() error {
	timed := c.timed.Load()
	if timed == nil && c.isOver() {
		timed = c.wait()
	}
	if timed == nil {
		return nil
	}
	return timed.Err()
}

// Value implements context.Context. Contexts find by a value whom to ask for their end.
func (c *lateContext) Value(key any) any {
	if timed := c.timed.Load(); timed != nil {
		return timed.Value(key)
	}
	return c.Context.Value(key)
}

func (c *lateContext) isOver() bool {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	return c.ended || c.Context.Err() != nil || !time.Now().Before(c.deadline)
}

func (c *lateContext) wait() *timedContext {
	if timed := c.timed.Load(); timed != nil {
		return timed
	}
	c.mutex.Lock()
	defer c.mutex.Unlock()
	timed := c.timed.Load()
	if timed != nil {
		return timed
	}
	timed = &timedContext{}
	timed.Context, timed.cancel = context.WithDeadline(c.Context, c.deadline)
	if c.ended {
		timed.cancel()
	}
	c.timed.Store(timed)
	return timed
}

func (c *lateContext) end() {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	c.ended = true
	if timed := c.timed.Load(); timed != nil {
		timed.cancel()
	}
}
