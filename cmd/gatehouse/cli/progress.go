package cli

import (
	"io"
	"os"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"
)

// NewProgress is a bar on a terminal, and nothing elsewhere. A total below zero is one that nobody knows.
func NewProgress(w io.Writer, total int64, what string) *progressbar.ProgressBar {
	if total == 0 {
		total = 1 // a bar cannot be of nothing
	}
	return progressbar.NewOptions64(total,
		progressbar.OptionSetWriter(w), progressbar.OptionSetVisibility(IsTerminal(w)),
		progressbar.OptionSetDescription(what), progressbar.OptionShowCount(), progressbar.OptionShowIts(),
		progressbar.OptionThrottle(100*time.Millisecond), progressbar.OptionClearOnFinish(), progressbar.OptionSetPredictTime(true),
	)
}

func IsTerminal(w io.Writer) bool {
	file, isFile := w.(*os.File)
	return isFile && term.IsTerminal(int(file.Fd())) //nolint:gosec // a descriptor fits
}
