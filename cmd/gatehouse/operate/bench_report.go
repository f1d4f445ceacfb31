package operate

import (
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/molecule-ai/gatehouse/cmd/gatehouse/cli"
)

// BenchReport is what came of a load.
type BenchReport struct {
	URL         string           `json:"url"`
	DryRun      bool             `json:"dry_run"`
	Rate        float64          `json:"rate"` // asked for; 0 for as fast as possible
	Connections int              `json:"connections"`
	Seconds     float64          `json:"seconds"`
	Sent        int64            `json:"sent"`
	Unsent      int64            `json:"unsent"` // due, and given up because the server was so late
	PerSecond   float64          `json:"per_second"`
	Allowed     int64            `json:"allowed"`
	Denied      int64            `json:"denied"`
	DenyShare   float64          `json:"deny_share"` // of decisions
	DeniedBy    map[string]int64 `json:"denied_by"`  // code
	Failed      int64            `json:"failed"`
	Errors      map[string]int64 `json:"errors"`
	Latency     latencyReport    `json:"latency_ms"` // from when a request was due
	histogram   *hdrhistogram.Histogram
}

type latencyReport struct {
	Mean float64 `json:"mean"`
	P50  float64 `json:"p50"`
	P90  float64 `json:"p90"`
	P99  float64 `json:"p99"`
	P999 float64 `json:"p999"`
	Max  float64 `json:"max"`
}

// conclude sums up what was counted in the time that the load took.
func (r *BenchReport) conclude(took time.Duration) {
	at := func(percentile float64) float64 { return float64(r.histogram.ValueAtPercentile(percentile)) / 1000 }
	r.Seconds, r.PerSecond = took.Seconds(), float64(r.Sent)/took.Seconds()
	r.Latency = latencyReport{
		Mean: r.histogram.Mean() / 1000, P50: at(50), P90: at(90), P99: at(99), P999: at(99.9), Max: float64(r.histogram.Max()) / 1000,
	}
	if decided := r.Answered(); decided > 0 {
		r.DenyShare = float64(r.Denied) / float64(decided)
	}
}

// Answered is the number of decisions.
func (r BenchReport) Answered() int64 { return r.Allowed + r.Denied }

func (r BenchReport) write(w io.Writer) error {
	var b strings.Builder
	mode := "dry run"
	if !r.DryRun {
		mode = "enforced"
	}
	rate := "as fast as the connections allow"
	if r.Rate > 0 {
		rate = fmt.Sprintf("%g/s asked for", r.Rate)
	}
	_, _ = fmt.Fprintf(&b, "%s, %s: %d requests in %.1f s, %.0f/s (%s), up to %d at once\n", r.URL, mode, r.Sent, r.Seconds, r.PerSecond, rate, r.Connections)
	_, _ = fmt.Fprintf(&b, "allowed %d, denied %d (%.1f %%), errors %d\n", r.Allowed, r.Denied, 100*r.DenyShare, r.Failed)
	for _, code := range slices.Sorted(maps.Keys(r.DeniedBy)) {
		_, _ = fmt.Fprintf(&b, "  denied %-32s %d\n", cli.Printable(code), r.DeniedBy[code])
	}
	for _, code := range slices.Sorted(maps.Keys(r.Errors)) {
		_, _ = fmt.Fprintf(&b, "  error  %-32s %d\n", cli.Printable(code), r.Errors[code])
	}
	if r.Unsent > 0 {
		_, _ = fmt.Fprintf(&b, "%d requests were due and not sent: the server was more than %s behind\n", r.Unsent, benchPatience)
	}
	l := r.Latency
	_, _ = fmt.Fprintf(&b, "latency in ms: mean %.2f, p50 %.2f, p90 %.2f, p99 %.2f, p99.9 %.2f, max %.2f\n", l.Mean, l.P50, l.P90, l.P99, l.P999, l.Max)
	r.draw(&b)
	_, err := io.WriteString(w, b.String())
	return err
}

// barWidth is the width of the longest bar of the histogram.
const barWidth = 50

// draw prints latencies in steps that double.
func (r BenchReport) draw(b *strings.Builder) {
	steps := make(map[int]int64)
	first, last, most := math.MaxInt, 0, int64(1)
	for _, bar := range r.histogram.Distribution() {
		if bar.Count == 0 {
			continue
		}
		step := int(math.Ceil(math.Log2(float64(max(bar.To, 1)))))
		steps[step] += bar.Count
		first, last, most = min(first, step), max(last, step), max(most, steps[step])
	}
	for step := first; step <= last; step++ {
		count := steps[step]
		width := int(math.Ceil(float64(barWidth) * float64(count) / float64(most)))
		_, _ = fmt.Fprintf(b, "  up to %9.3f ms %-*s %d\n", math.Exp2(float64(step))/1000, barWidth, strings.Repeat("#", width), count)
	}
}
