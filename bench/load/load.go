//go:build linux

// Package load is a load generator that costs little beside what it measures, and waits for none of it where it may: one
// thread, which comes first at the cores, one epoll, requests that are ready to be sent. It keeps a fixed number of
// connections busy (closed loop), so it finds what a server can do; how long requests take at a given rate is what
// gatehouse bench is for. It speaks as much HTTP/1.1 as the servers here answer with: a status, a Content-Length, and
// connections that stay open.
package load

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Spec is one run.
type Spec struct {
	Address     string        // host:port on this machine
	Connections int           // that are kept busy
	Duration    time.Duration // at most; a run that sends each request once may be over before
	Requests    [][]byte      // whole HTTP requests, sent in turn
	Once        bool          // send each of them once, instead of again and again
	Counted     string        // text whose answers are counted: a check that the run did what it should
	TakeTurns   bool          // at the cores with the server, instead of coming first
}

// Result is what came of a run.
type Result struct {
	Answers int64         `json:"answers"` // with status 200
	Errors  int64         `json:"errors"`  // of any other status
	Counted int64         `json:"counted"`
	Failure string        `json:"failure,omitempty"` // the first answer that was an error
	First   bool          `json:"first"`             // the generator did not wait for a core
	Took    time.Duration `json:"took"`
	Mean    time.Duration `json:"mean"`
	P50     time.Duration `json:"p50"`
	P99     time.Duration `json:"p99"`
	P999    time.Duration `json:"p999"`
	Max     time.Duration `json:"max"`
}

// longest is the longest latency that is told apart, in microseconds.
const longest = int64(time.Minute / time.Microsecond)

type run struct {
	spec        Spec
	poll        int
	connections map[int32]*connection
	next        int // request to send
	histogram   *hdrhistogram.Histogram
	counted     []byte
	result      Result
}

// Run sends requests until the time is over and every answer that was under way is there.
func Run(ctx context.Context, spec Spec) (Result, error) {
	r := &run{
		spec: spec, connections: make(map[int32]*connection, spec.Connections),
		histogram: hdrhistogram.New(1, longest, 3), counted: []byte(spec.Counted),
	}
	defer r.close()
	err := r.connect(ctx)
	if err != nil {
		return Result{}, err
	}
	r.result.First = !spec.TakeTurns && comeFirst()
	began := time.Now()
	err = r.exchange(ctx, began.Add(spec.Duration))
	r.result.Took = time.Since(began)
	microseconds := func(percentile float64) time.Duration {
		return time.Duration(r.histogram.ValueAtPercentile(percentile)) * time.Microsecond
	}
	r.result.Mean = time.Duration(r.histogram.Mean() * float64(time.Microsecond))
	r.result.P50, r.result.P99, r.result.P999 = microseconds(50), microseconds(99), microseconds(99.9)
	r.result.Max = time.Duration(r.histogram.Max()) * time.Microsecond
	return r.result, err
}

func (r *run) connect(ctx context.Context) error {
	var err error
	r.poll, err = syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	if err != nil {
		return fmt.Errorf("making an epoll: %w", err)
	}
	for range r.spec.Connections {
		c, err := dial(ctx, r.spec.Address)
		if err != nil {
			return err
		}
		r.connections[c.fd] = c
		err = syscall.EpollCtl(r.poll, syscall.EPOLL_CTL_ADD, int(c.fd), &syscall.EpollEvent{
			Events: syscall.EPOLLIN | syscall.EPOLLOUT | epollEdge, Fd: c.fd,
		})
		if err != nil {
			return fmt.Errorf("watching a connection: %w", err)
		}
	}
	return nil
}

// epollEdge is EPOLLET, which package syscall has as a negative number.
const epollEdge = 1 << 31

func (r *run) close() {
	for _, c := range r.connections {
		c.close()
	}
	_ = syscall.Close(r.poll)
}

// exchange ends when no connection is busy any more.
func (r *run) exchange(ctx context.Context, end time.Time) error {
	busy := 0
	for _, c := range r.connections {
		sent, err := r.send(c, end)
		if err != nil {
			return err
		}
		busy += sent
	}
	events := make([]syscall.EpollEvent, r.spec.Connections)
	for busy > 0 {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		n, err := syscall.EpollWait(r.poll, events, 1000)
		if err != nil && !errors.Is(err, syscall.EINTR) {
			return fmt.Errorf("waiting for answers: %w", err)
		}
		for _, event := range events[:max(n, 0)] {
			c := r.connections[event.Fd]
			change, err := r.serve(c, end)
			if err != nil {
				return err
			}
			busy += change
		}
	}
	return nil
}

// serve goes on with one connection; -1 says that it is done.
func (r *run) serve(c *connection, end time.Time) (int, error) {
	err := c.flush()
	if err != nil {
		return 0, err
	}
	answer, done, err := c.read()
	if err != nil || !done {
		return 0, err
	}
	r.take(c, answer)
	sent, err := r.send(c, end)
	return sent - 1, err
}

func (r *run) take(c *connection, a answer) {
	_ = r.histogram.RecordValue(max(min(int64(time.Since(c.began)/time.Microsecond), longest), 1))
	if a.status != 200 {
		if r.result.Errors == 0 {
			r.result.Failure = fmt.Sprintf("%d %s", a.status, a.body[:min(len(a.body), 300)])
		}
		r.result.Errors++
		return
	}
	r.result.Answers++
	if len(r.counted) > 0 {
		r.result.Counted += int64(bytes.Count(a.body, r.counted))
	}
}

// send starts the next request and says how many that were.
func (r *run) send(c *connection, end time.Time) (int, error) {
	if r.next == len(r.spec.Requests) {
		if r.spec.Once {
			return 0, nil
		}
		r.next = 0
	}
	now := time.Now()
	if !now.Before(end) {
		return 0, nil
	}
	c.began, c.unsent = now, r.spec.Requests[r.next]
	r.next++
	return 1, c.flush()
}
