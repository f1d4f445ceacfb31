package operate

import (
	"bytes"
	"cmp"
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
	"github.com/schollz/progressbar/v3"

	"github.com/molecule-ai/gatehouse/cmd/gatehouse/cli"
)

// benchPatience is how long one request may take: as long as the registry's client waits. What is still to be sent so
// long after the end is not sent any more.
const benchPatience = 10 * time.Second

// The latencies that are told apart: from a microsecond to beyond patience, however late a request was sent, with
// three digits.
const (
	longestLatency = 10 * time.Minute
	latencyDigits  = 3
)

// loadRun sends requests at a rate. Each request has a time at which it is due, however long the ones before it take.
// Its latency counts from that time: a server that stalls is charged with every request that was due meanwhile, and
// not only with the few that were under way.
type loadRun struct {
	command  *Bench
	client   *http.Client
	requests []benchRequest
	start    time.Time
	end      time.Time
	next     atomic.Int64
	bar      *progressbar.ProgressBar

	mu     sync.Mutex // held to count an answer
	report BenchReport
}

// load sends until the time is over or ctx ends. It waits for what is under way then.
func (c *Bench) load(ctx context.Context, requests []benchRequest, progress io.Writer) BenchReport {
	transport := &http.Transport{MaxIdleConnsPerHost: c.Connections, MaxConnsPerHost: c.Connections, Proxy: http.ProxyFromEnvironment}
	defer transport.CloseIdleConnections()
	expected := int64(c.Rate * c.Duration.Seconds())
	if c.Rate == 0 {
		expected = -1
	}
	start := time.Now()
	run := &loadRun{
		command: c, client: &http.Client{Transport: transport, Timeout: benchPatience}, requests: requests,
		start: start, end: start.Add(c.Duration), bar: cli.NewProgress(progress, expected, "requests"),
		report: BenchReport{
			URL: c.URL, DryRun: !c.Enforce, Rate: c.Rate, Connections: c.Connections,
			DeniedBy: make(map[string]int64), Errors: make(map[string]int64),
			histogram: hdrhistogram.New(1, longestLatency.Microseconds(), latencyDigits),
		},
	}
	var senders sync.WaitGroup
	for range c.Connections {
		senders.Go(func() { run.send(ctx) })
	}
	senders.Wait()
	run.report.conclude(time.Since(start))
	_ = run.bar.Finish()
	return run.report
}

func (r *loadRun) send(ctx context.Context) {
	for {
		number := r.next.Add(1) - 1
		due := r.due(number)
		if !due.Before(r.end) {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(time.Until(due)):
		}
		if time.Since(r.end) > benchPatience {
			r.giveUp()
			continue
		}
		answer := r.ask(context.WithoutCancel(ctx), r.requests[number%int64(len(r.requests))])
		r.count(answer, time.Since(due))
	}
}

// due is when a request is to be sent: at once where there is no rate.
func (r *loadRun) due(number int64) time.Time {
	if r.command.Rate == 0 {
		return time.Now()
	}
	return r.start.Add(time.Duration(float64(number) / r.command.Rate * float64(time.Second)))
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
		_ = json.Unmarshal(text, &problem) // a proxy's answer has no code
		return benchAnswer{failed: cmp.Or(problem.Code, fmt.Sprintf("http_%d", status))}
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

func (r *loadRun) count(answer benchAnswer, latency time.Duration) {
	_ = r.bar.Add(1)
	r.mu.Lock()
	defer r.mu.Unlock()
	_ = r.report.histogram.RecordValue(min(max(latency, time.Microsecond), longestLatency).Microseconds()) // in range
	r.report.Sent++
	switch {
	case answer.failed != "":
		r.report.Failed++
		r.report.Errors[answer.failed]++
	case answer.Allowed:
		r.report.Allowed++
	default:
		r.report.Denied++
		r.report.DeniedBy[answer.Status.Reason]++
	}
}

func (r *loadRun) giveUp() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.report.Unsent++
}
