package operate

import (
	"fmt"
	"io"
	"time"

	"github.com/molecule-ai/gatehouse/cmd/gatehouse/cli"
	"github.com/molecule-ai/gatehouse/server/admission"
	"github.com/molecule-ai/gatehouse/server/replay"
)

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
