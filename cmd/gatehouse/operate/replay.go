package operate

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/alecthomas/kong"
	"github.com/schollz/progressbar/v3"

	"github.com/molecule-ai/gatehouse/adapters/opa/ports"
	"github.com/molecule-ai/gatehouse/cmd/gatehouse/cli"
	"github.com/molecule-ai/gatehouse/cmd/gatehouse/flags"
	"github.com/molecule-ai/gatehouse/cmd/gatehouse/settings"
	"github.com/molecule-ai/gatehouse/server/admission"
	"github.com/molecule-ai/gatehouse/server/replay"
)

// Replay evaluates recorded decisions again, by the policies of --policies. It works on the database itself and only reads it.
type Replay struct {
	flags.PolicySource
	flags.Database

	Since      moment     `env:"-" help:"Decisions from then on: a time (RFC 3339) or how long ago." default:"168h" placeholder:"WHEN"`
	Until      moment     `env:"-" help:"Decisions from before then." placeholder:"WHEN"`
	Hook       string     `env:"-" help:"Only decisions of this hook." placeholder:"HOOK"`
	Code       string     `env:"-" help:"Only decisions of this code: that of the violation that denied." placeholder:"CODE"`
	Workspace  string     `env:"-" help:"Only decisions of this workspace." placeholder:"ID"`
	Limit      int        `env:"-" help:"How many decisions at most, the newest; 0 for all." default:"0"`
	Parallel   int        `env:"-" help:"Decisions to evaluate at once; 0 for one for each core." default:"0"`
	Examples   int        `env:"-" help:"How many decisions to show of each flip, the newest." default:"3"`
	FailOnFlip failOnFlip `help:"Exit with 1 if a verdict flips or fails (any, also without a value), or if a deny becomes an allow (deny-to-allow)." placeholder:"any"`
	cli.Form
}

// failOnFlip is a flag that may go without a value.
type failOnFlip string

const (
	failOnAny         failOnFlip = "any"
	failOnDenyToAllow failOnFlip = "deny-to-allow"
)

// Decode implements kong.MapperValue.
func (f *failOnFlip) Decode(ctx *kong.DecodeContext) error {
	*f = failOnAny
	if ctx.Scan.Peek().Type != kong.FlagValueToken {
		return nil
	}
	value, err := ctx.Scan.PopValue("flip")
	if err != nil {
		return err
	}
	switch text := fmt.Sprint(value.Value); text {
	case "true": // of a variable or a file
	case "false", "":
		*f = ""
	case string(failOnAny), string(failOnDenyToAllow):
		*f = failOnFlip(text)
	default:
		return settings.Safe{Problem: errors.New("want any or deny-to-allow")}
	}
	return nil
}

// IsBool implements kong.BoolMapperValue.
func (*failOnFlip) IsBool() bool { return true }

func (f failOnFlip) fails(report replay.Report) bool {
	switch f {
	case failOnAny:
		return report.Flipped+report.Failed > 0
	case failOnDenyToAllow:
		return report.Count(admission.DenyToAllow) > 0
	default:
		return false
	}
}

// Run replays, and prints what came of it.
func (c *Replay) Run(ctx context.Context, to cli.Streams) error {
	options, err := c.options(time.Now())
	if err != nil {
		return err
	}
	rules, err := c.Load(ctx, to)
	if err != nil {
		return err
	}
	records, err := c.Open(ctx, flags.StoreOptions{})
	if err != nil {
		return err
	}
	report, err := c.replay(ctx, to, records, ports.Replay(rules), options)
	err = errors.Join(err, records.Close())
	if err != nil {
		return fmt.Errorf("%w; after %d decisions", err, report.Read)
	}
	err = c.Write(to.Out, report, func(w io.Writer) error { return writeReplay(w, report) })
	if err == nil && report.Disagreed > 0 {
		return fmt.Errorf("%w on %d decisions, of which the candidate has no verdict", admission.ErrEvaluatorsDisagree, report.Disagreed)
	}
	if err == nil && c.FailOnFlip.fails(report) {
		return cli.ErrSaid
	}
	return err
}

func (c *Replay) options(now time.Time) (replay.Options, error) {
	if c.Limit < 0 || c.Parallel < 0 || c.Examples < 0 {
		return replay.Options{}, errors.New("--limit, --parallel and --examples must not be negative")
	}
	filter, err := decisionFilterFlags{Hook: c.Hook, Code: c.Code, Workspace: c.Workspace}.filter()
	if err == nil {
		err = timeFlags{c.Since, c.Until}.apply(&filter, now)
	}
	if err != nil {
		return replay.Options{}, err
	}
	return replay.Options{Filter: filter, Limit: c.Limit, Parallel: c.Parallel, Examples: c.Examples, Evaluator: admission.Evaluator{Timeout: replayTimeout}}, nil
}

// replayTimeout is the deadline of one evaluation: that of a request, the longest that a live evaluation can take.
const replayTimeout = 2 * time.Second

func (c *Replay) replay(
	ctx context.Context, to cli.Streams, records replay.Source, candidate replay.Candidate, options replay.Options,
) (replay.Report, error) {
	bar := newReplayBar(to.Err, options)
	options.Progress = bar.show
	report, err := replay.Run(ctx, records, candidate, options)
	_ = bar.Finish()
	return report, err
}

// replayBar shows which part of the decisions has been read.
type replayBar struct {
	*progressbar.ProgressBar
	options replay.Options
}

const barSteps = 1000

func newReplayBar(w io.Writer, options replay.Options) replayBar {
	return replayBar{options: options, ProgressBar: progressbar.NewOptions64(barSteps,
		progressbar.OptionSetWriter(w), progressbar.OptionSetVisibility(cli.IsTerminal(w)),
		progressbar.OptionSetDescription("decisions"), progressbar.OptionThrottle(100*time.Millisecond),
		progressbar.OptionClearOnFinish(), progressbar.OptionSetPredictTime(true),
	)}
}

func (b replayBar) show(p replay.Progress) {
	b.Describe(fmt.Sprintf("%d decisions, back to %s", p.Read, p.Reached.Format(time.DateTime)))
	_ = b.Set64(min(int64(barSteps*b.options.Fraction(p)), barSteps-1))
}

// writeReplay prints a report for people: what was compared, what was not and why, and what flips.
func writeReplay(w io.Writer, r replay.Report) error {
	if r.Read == 0 {
		_, err := fmt.Fprintln(w, "no such decision is recorded")
		return err
	}
	_, _ = fmt.Fprintf(w, "candidate %s (%s)\n", r.Candidate.Revision, r.Candidate.Source)
	_, _ = fmt.Fprintf(w, "%d decisions from %s to %s, made by\n", r.Read, r.Oldest.Format(time.RFC3339), r.Newest.Format(time.RFC3339))
	for _, revision := range cli.ByCount(r.Recorded) {
		_, _ = fmt.Fprintf(w, "  %s: %d\n", cli.OrDash(revision), r.Recorded[revision])
	}
	_, err := fmt.Fprintf(w, "%d compared: %d unchanged, %d deny to allow, %d allow to deny, %d changed, %d without a verdict\n", r.Evaluated,
		r.Unchanged, r.Count(admission.DenyToAllow), r.Count(admission.AllowToDeny), r.Count(admission.VerdictChanged), r.Failed)
	if r.Skipped.Total() > 0 {
		err = writeSkipped(w, r.Skipped)
	}
	if len(r.Flips) == 0 {
		return err
	}
	return cli.WriteFlips(w, r.Flips, "recorded")
}

func writeSkipped(w io.Writer, s replay.Skipped) error {
	_, err := fmt.Fprintf(w, "%d not compared:\n", s.Total())
	say := func(count int64, why string) {
		if count > 0 {
			_, err = fmt.Fprintf(w, "  %d: %s\n", count, why)
		}
	}
	say(s.Failed, "an error was answered, so there is no verdict")
	for _, hook := range cli.ByCount(s.UnknownHooks) {
		say(s.UnknownHooks[hook], "the candidate does not define the hook "+hook)
	}
	for _, pointer := range cli.ByCount(s.Redacted) {
		say(s.Redacted[pointer], "the candidate reads "+pointer+", which is erased or masked in the record")
	}
	say(s.Unreadable, "the record's input is unreadable")
	return err
}
