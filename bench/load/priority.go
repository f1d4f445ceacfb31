//go:build linux

package load

import (
	"runtime"
	"syscall"
)

// comeFirst has this thread wait for no other one, as if it had a machine of its own: what a load generator waits for a
// core is no time that the server took. It gives false where the process has no right to that (root has, and
// CAP_SYS_NICE).
//
// The thread belongs to the calling goroutine from here on and ends with it, as its priority is nobody else's.
func comeFirst() bool {
	const highest = -20
	runtime.LockOSThread()
	return syscall.Setpriority(syscall.PRIO_PROCESS, 0, highest) == nil // of the thread, on Linux
}
