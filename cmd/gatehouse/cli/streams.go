// Package cli is what all commands talk by: streams, exit codes, tables, JSON and progress.
package cli

import (
	"errors"
	"io"
)

// Exit codes: ExitFailed when the command ran and the answer is no (policies refused, tests failed, server
// stopped by an error), ExitUsage when it could not be understood.
const (
	ExitFailed = 1
	ExitUsage  = 2
)

// Streams are what a command talks over, so that tests can listen.
type Streams struct {
	In  io.Reader
	Out io.Writer
	Err io.Writer
}

// ErrSaid is the error of a command that has already printed what is wrong.
var ErrSaid = errors.New("said")
