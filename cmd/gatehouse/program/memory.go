package program

import (
	"os"
	"runtime"
	"runtime/debug"
)

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
