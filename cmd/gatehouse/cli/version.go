package cli

import (
	"fmt"
	"runtime"
	"runtime/debug"
)

// Version is which version of the program this is.
type Version string

// VersionOf gives the version that the linker was told (see the Makefile); a plain go build tells none, and the module's is
// used.
func VersionOf(linked string) Version {
	if linked != "" {
		return Version(linked)
	}
	info, found := debug.ReadBuildInfo()
	if !found || info.Main.Version == "" {
		return "devel"
	}
	return Version(info.Main.Version)
}

// Line is the version of the program and of what it was built with.
func (v Version) Line() string {
	return fmt.Sprintf("gatehouse %s, %s", string(v), runtime.Version())
}
