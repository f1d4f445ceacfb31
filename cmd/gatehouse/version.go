package main

import (
	"fmt"
	"runtime"
	"runtime/debug"
)

// version is set by the linker (see the Makefile); a plain go build leaves it, and the module's is used.
var version = ""

type versionCommand struct{}

// Run prints the version of the program and of what it was built with.
func (versionCommand) Run(to streams) error {
	_, err := fmt.Fprintln(to.out, versionLine())
	return err
}

func versionLine() string {
	return fmt.Sprintf("gatehouse %s, %s", programVersion(), runtime.Version())
}

func programVersion() string {
	if version != "" {
		return version
	}
	info, found := debug.ReadBuildInfo()
	if !found || info.Main.Version == "" {
		return "devel"
	}
	return info.Main.Version
}
