package operate

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/go-json-experiment/json"

	"github.com/molecule-ai/gatehouse/cmd/gatehouse/cli"
)

// benchPatience is how long one request may take, as long as the registry's client waits. What is still to be
// sent so long after the end is not sent any more.
const benchPatience = 10 * time.Second

// loadRun sends requests at a rate. The nth has a time at which it is due, however long the ones before take: its
// latency counts from then. A server that stalls is so charged with every request that would have come meanwhile, and
// not only with those few that waited for it.
type loadRun struct {
	command  *Bench
	client   *http.Client
	requests []benchRequest
	start    time.Time
	end      time.Time
	next     atomic.Int64
	sent     func()
}

// load sends until the time is over or ctx ends. What is under way then is waited for.
func (c *Bench) load(ctx context.Context, requests []benchRequest, progress io.Writer) BenchReport {
	transport := &http.Transport{MaxIdleConnsPerHost: c.Connections, MaxConnsPerHost: c.Connections, Proxy: http.ProxyFromEnvironment}
	defer transport.CloseIdleConnections()
	bar := cli.NewProgress(progress, c.expected(), "requests")
	start := time.Now()
	run := &loadRun{
		command: c, client: &http.Client{Transport: transport, Timeout: benchPatience}, requests: requests,
		start: start, end: start.Add(c.Duration), sent: func() { _ = bar.Add(1) },
	}
	tallies := make([]*tally, c.Connections)
	var senders sync.WaitGroup
	for i := range tallies {
		tallies[i] = newTally()
		senders.Go(func() { run.send(ctx, tallies[i]) })
	}
	senders.Wait()
	took := time.Since(start)
	_ = bar.Finish()
	return newBenchReport(c, tallies, took)
}

// expected is how many requests are due in all; -1 where there is no rate, for a bar without an end.
func (c *Bench) expected() int64 {
	if c.Rate == 0 {
		return -1
	}
	return int64(c.Rate * c.Duration.Seconds())
}

func (r *loadRun) send(ctx context.Context, into *tally) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	<-timer.C
	for {
		number := r.next.Add(1) - 1
		due, isDue := r.due(number)
		if !isDue {
			return
		}
		timer.Reset(time.Until(due))
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		if time.Since(r.end) > benchPatience {
			into.unsent++
			continue
		}
		answer := r.ask(context.WithoutCancel(ctx), r.requests[number%int64(len(r.requests))])
		into.take(answer, time.Since(due))
		r.sent()
	}
}

// due is when a request is to be sent, and whether that is before the end.
func (r *loadRun) due(number int64) (time.Time, bool) {
	due := time.Now()
	if r.command.Rate > 0 {
		due = r.start.Add(time.Duration(float64(number) / r.command.Rate * float64(time.Second)))
	}
	return due, due.Before(r.end)
}

// benchAnswer is as much of an answer as is counted.
type benchAnswer struct {
	Allowed bool `json:"allowed"`
	Status  struct {
		Reason string `json:"reason"`
	} `json:"status"`
	failed string // the error's code, "" for a decision
}

func (r *loadRun) ask(ctx context.Context, asked benchRequest) benchAnswer {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, asked.url, bytes.NewReader(asked.body))
	if err != nil {
		return benchAnswer{failed: "not_sent"}
	}
	request.Header.Set("Content-Type", "application/json")
	if r.command.Token != "" {
		request.Header.Set("Authorization", "Bearer "+r.command.Token)
	}
	response, err := r.client.Do(request)
	if err != nil {
		return benchAnswer{failed: transportError(err)}
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return benchAnswer{failed: transportError(err)}
	}
	return readBenchAnswer(response.StatusCode, text)
}

func readBenchAnswer(status int, text []byte) benchAnswer {
	if status != http.StatusOK {
		var problem struct {
			Code string `json:"code"`
		}
		err := json.Unmarshal(text, &problem)
		if err != nil || problem.Code == "" { // a proxy's, perhaps
			return benchAnswer{failed: fmt.Sprintf("http_%d", status)}
		}
		return benchAnswer{failed: problem.Code}
	}
	var answer benchAnswer
	err := json.Unmarshal(text, &answer)
	if err != nil {
		return benchAnswer{failed: "unreadable"}
	}
	return answer
}

func transportError(err error) string {
	if errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded) {
		return "timeout"
	}
	return "connection"
}

// tally is what one sender has seen.
type tally struct {
	latencies *hdrhistogram.Histogram // microseconds
	allowed   int64
	denied    map[string]int64
	failed    map[string]int64
	unsent    int64
}

// The latencies that are told apart: from a microsecond to beyond patience, however late a request was sent, with
// three digits.
const (
	longestLatency = 10 * time.Minute
	latencyDigits  = 3
)

func newTally() *tally {
	return &tally{
		latencies: hdrhistogram.New(1, longestLatency.Microseconds(), latencyDigits),
		denied:    make(map[string]int64), failed: make(map[string]int64),
	}
}

func (t *tally) take(answer benchAnswer, latency time.Duration) {
	_ = t.latencies.RecordValue(min(max(latency, time.Microsecond), longestLatency).Microseconds()) // in range
	switch {
	case answer.failed != "":
		t.failed[answer.failed]++
	case answer.Allowed:
		t.allowed++
	default:
		t.denied[answer.Status.Reason]++
	}
}

func (t *tally) add(other *tally) {
	t.latencies.Merge(other.latencies)
	t.allowed += other.allowed
	t.unsent += other.unsent
	for code, n := range other.denied {
		t.denied[code] += n
	}
	for code, n := range other.failed {
		t.failed[code] += n
	}
}

func sum(counts map[string]int64) int64 {
	var all int64
	for _, n := range counts {
		all += n
	}
	return all
}
