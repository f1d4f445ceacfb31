// Command gatehouse is admission control for a registry of agent workspaces: the server, and the tools of those who write
// its policies and of those who run it. Each command is in the package of who needs it: author, operate, serve.
package main

import (
	"os"

	"github.com/molecule-ai/gatehouse/cmd/gatehouse/program"
)

// version is set by the linker (see the Makefile).
var version string

func main() { os.Exit(program.Main(version)) }
