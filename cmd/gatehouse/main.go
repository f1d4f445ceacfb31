// Command gatehouse is admission control for a registry of agent workspaces: the server, and the tools of those who write
// its policies and of those who run it. Each command is in the package of who needs it: author, operate, serve.
package main

import (
	"context"
	"os"
	"runtime"
	"runtime/debug"

	"github.com/molecule-ai/gatehouse/cmd/gatehouse/cli"
	"github.com/molecule-ai/gatehouse/cmd/gatehouse/program"
	"github.com/molecule-ai/gatehouse/cmd/gatehouse/serve"
)

// version is set by the linker (see the Makefile).
var version string

func main() {
	collectLater()
	ctx, stop := serve.UntilTold(context.Background())
	defer stop()
	os.Exit(program.Run(ctx, cli.VersionOf(version), os.Args[1:], cli.Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr}))
}

// firstCollection is the memory at which garbage is collected for the first time: what a server has used when it
// is ready. moreGarbage is how much of it there may be afterwards, in percent of what is in use, which is so little that
// at Go's 100 a busy server collects it fifty times a second.
const (
	firstCollection = 32 << 20
	moreGarbage     = 150
)

// collectLater puts the first garbage collection off, and with it the many small ones of a heap that grows. GOGC and
// GOMEMLIMIT, where they are set, say how it goes on.
func collectLater() {
	limit := debug.SetMemoryLimit(-1)
	if limit <= firstCollection {
		return
	}
	percent := debug.SetGCPercent(-1)
	if os.Getenv("GOGC") == "" {
		percent = moreGarbage
	}
	debug.SetMemoryLimit(firstCollection)
	runtime.AddCleanup(new([16]byte), func(percent int) { // of what is reachable from nowhere, so at the first one
		debug.FreeOSMemory() // collects once more: what lay in pools would count as in use
		debug.SetGCPercent(percent)
		debug.SetMemoryLimit(limit)
	}, percent)
}
