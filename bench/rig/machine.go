//go:build linux

package rig

import (
	"context"
	"os"
	"os/exec"
	"strings"
)

// Machine is what a table is measured on.
type Machine struct {
	Processor, Memory, Kernel string
	Commit                    string // of Gatehouse's sources
	Load                      string // of the minute before
}

// ReadMachine reads it now. repository is the folder of Gatehouse's sources.
func ReadMachine(ctx context.Context, repository string) (Machine, error) {
	m := Machine{Processor: field("/proc/cpuinfo", "model name"), Memory: field("/proc/meminfo", "MemTotal")}
	average, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return m, err
	}
	m.Load, _, _ = strings.Cut(string(average), " ")
	kernel, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return m, err
	}
	m.Kernel = strings.TrimSpace(string(kernel))
	m.Commit, err = Command(ctx, repository, "git", "describe", "--always", "--dirty")
	return m, err
}

// Command gives what a program prints.
func Command(ctx context.Context, folder string, arguments ...string) (string, error) {
	c := exec.CommandContext(ctx, arguments[0], arguments[1:]...)
	c.Dir = folder
	text, err := c.CombinedOutput()
	return strings.TrimSpace(string(text)), err
}

// field is the first value of a name in a file of /proc.
func field(path, name string) string {
	text, _ := os.ReadFile(path) // a machine that does not say is one that is not named
	for line := range strings.Lines(string(text)) {
		key, value, _ := strings.Cut(line, ":")
		if strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return "unknown"
}
