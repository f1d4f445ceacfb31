//go:build linux

package compare

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/molecule-ai/gatehouse/bench/rig"
)

// breakdown is where the time of a request goes, in the mean: parts that add up to what its caller waits.
type breakdown struct {
	facts, policy, ledger time.Duration
	gate                  time.Duration // the rest of a review: the decision, masking, metrics, the log line
	handler               time.Duration // the rest of the handler: decoding, routing, encoding
	outside               time.Duration // from the caller's write to the handler and back: net/http, the kernel, waiting for a core
}

// watchReviews does a run, and says where its requests' time went: Gatehouse's own metrics, before and after.
func watchReviews(ctx context.Context, server *rig.Process, run func() (sample, error)) (sample, breakdown, error) {
	before, err := rig.Scrape(ctx, server.Address)
	if err != nil {
		return sample{}, breakdown{}, err
	}
	measured, err := run()
	if err != nil {
		return sample{}, breakdown{}, err
	}
	after, err := rig.Scrape(ctx, server.Address)
	if err != nil {
		return sample{}, breakdown{}, err
	}
	mean := func(name, labels string) time.Duration {
		count := after[name+"_count"+labels] - before[name+"_count"+labels]
		seconds := (after[name+"_sum"+labels] - before[name+"_sum"+labels]) / max(count, 1)
		return time.Duration(seconds * float64(time.Second))
	}
	const stages = "gatehouse_admission_stage_duration_seconds"
	b := breakdown{
		facts: mean(stages, `{stage="facts"}`), policy: mean(stages, `{stage="policy"}`), ledger: mean(stages, `{stage="ledger"}`),
	}
	review := mean("gatehouse_admission_duration_seconds", `{hook="register"}`)
	request := mean("gatehouse_http_request_duration_seconds", `{route="/v1/admission/{hook}"}`)
	b.gate = review - b.facts - b.policy - b.ledger
	b.handler = request - review
	b.outside = measured.Mean - request
	return measured, b, nil
}

func (rep report) writeBreakdown(b *strings.Builder) {
	if len(rep.breakdowns) == 0 {
		return
	}
	_, _ = fmt.Fprintf(b, "\nWhere the time of one request of row B goes, %d at once, in the mean of all rounds:\n\n| part | ms | share |\n|---|---|---|\n", connections)
	parts := []struct {
		name string
		of   func(breakdown) time.Duration
	}{
		{"facts: waiting for the query under way, the query", func(x breakdown) time.Duration { return x.facts }},
		{"policy: waiting for a turn, the evaluation", func(x breakdown) time.Duration { return x.policy }},
		{"ledger: waiting for the commit under way, the commit", func(x breakdown) time.Duration { return x.ledger }},
		{"the rest of the review: the decision, its masking, metrics, the log line", func(x breakdown) time.Duration { return x.gate }},
		{"the rest of the handler: routing, decoding, encoding", func(x breakdown) time.Duration { return x.handler }},
		{"outside the handler: net/http, the kernel, waiting for a core", func(x breakdown) time.Duration { return x.outside }},
	}
	means := make([]time.Duration, len(parts))
	var total time.Duration
	for i, part := range parts {
		for _, one := range rep.breakdowns {
			means[i] += part.of(one) / time.Duration(len(rep.breakdowns))
		}
		total += means[i]
	}
	for i, part := range parts {
		_, _ = fmt.Fprintf(b, "| %s | %.3f | %.0f %% |\n", part.name, rig.Milliseconds(means[i]), 100*float64(means[i])/float64(total))
	}
	_, _ = fmt.Fprintf(b, "| what the caller waits | %.3f | 100 %% |\n", rig.Milliseconds(total))
}
