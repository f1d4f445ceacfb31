// Command gatehouse is admission control for a registry of agent workspaces: the server, and the tools of
// those who write its policies. There is one file for each subcommand; serve.go wires adapters into the
// server.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/debug"

	"github.com/alecthomas/kong"

	"github.com/molecule-ai/gatehouse/cmd/gatehouse/settings"
)

// Exit codes: exitFailed when the command ran and the answer is no (policies refused, tests failed, server
// stopped by an error), exitUsage when it could not be understood.
const (
	exitFailed = 1
	exitUsage  = 2
)

// commands are the subcommands. Flags are also GATEHOUSE_* variables and keys of the --config file.
type commands struct {
	Config      string           `help:"YAML file of flags by their names; flags and variables come first." placeholder:"FILE"`
	ShowVersion kong.VersionFlag `name:"version" env:"-" help:"Say which version this is."`

	Serve         serveCommand         `cmd:"" help:"Answer registries."`
	Check         checkCommand         `cmd:"" help:"Compile and type-check policies."`
	Test          testCommand          `cmd:"" help:"Run Rego tests and case files, with coverage."`
	Eval          evalCommand          `cmd:"" help:"Decide one review from a file and explain."`
	Fmt           fmtCommand           `cmd:"" help:"Format Rego files."`
	Policies      policiesCommand      `cmd:"" help:"The catalogue of rules."`
	Bundle        bundleCommand        `cmd:"" help:"Make, sign and check OPA bundles of policies."`
	Replay        replayCommand        `cmd:"" help:"Show which recorded decisions policies would change."`
	Audit         auditCommand         `cmd:"" help:"Hold every stored workspace to the policies."`
	Bench         benchCommand         `cmd:"" help:"Load a running server and report how long its answers take."`
	Schema        schemaCommand        `cmd:"" help:"Print the JSON schema of the input or of case files."`
	Decisions     decisionsCommand     `cmd:"" help:"What was decided: list, show, tail, export."`
	Announcements announcementsCommand `cmd:"" help:"Look at what goes out to sinks, retry and discard it."`
	Migrate       migrateCommand       `cmd:"" help:"Bring the database's own tables up to date."`
	Version       versionCommand       `cmd:"" help:"Say which version this is."`

	warnings []string // of variables that have no effect
}

// BeforeReset comes before kong looks at variables.
func (c *commands) BeforeReset(ctx *kong.Context) error { //nolint:unparam // kong asks for an error
	settings.TakeVariables(ctx)
	return nil
}

// BeforeResolve reads the configuration file and the variables, when kong knows which command is meant.
func (c *commands) BeforeResolve(ctx *kong.Context) error {
	read, err := settings.Read(ctx, os.Environ())
	if err != nil {
		return err
	}
	ctx.AddResolver(read)
	c.warnings = read.Warnings(ctx.Model)
	return nil
}

// AfterApply tells which variables have no effect: a server does in its log.
func (c *commands) AfterApply(ctx *kong.Context) error {
	if ctx.Command() == "serve" {
		logger, flush := c.Serve.logger(streams{err: ctx.Stderr})
		defer flush()
		for _, warning := range c.warnings {
			logger.Warn(warning)
		}
		return nil
	}
	for _, warning := range c.warnings {
		_, _ = fmt.Fprintln(ctx.Stderr, "gatehouse: warning:", warning)
	}
	return nil
}

// streams are what a command talks over, so that tests can listen.
type streams struct {
	in  io.Reader
	out io.Writer
	err io.Writer
}

func main() {
	collectLater()
	ctx, stop := untilTold(context.Background())
	defer stop()
	os.Exit(run(ctx, os.Args[1:], streams{os.Stdin, os.Stdout, os.Stderr}))
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

// run does one command and gives the exit code.
func run(ctx context.Context, args []string, to streams) int {
	exited := -1
	parser, err := newParser(to, func(code int) { exited = code })
	if err != nil {
		_, _ = fmt.Fprintln(to.err, "gatehouse:", err)
		return exitUsage
	}
	if len(args) > 0 && args[0] == "help" {
		args = append(args[1:], "--help")
	}
	command, err := parser.Parse(args)
	if exited >= 0 { // --help or --version has been printed
		return exited
	}
	if err != nil {
		_, _ = fmt.Fprintln(to.err, "gatehouse:", settings.WithoutArguments(err, args))
		return exitUsage
	}
	command.BindTo(ctx, (*context.Context)(nil))
	err = command.Run(to)
	if errors.Is(err, errSaid) {
		return exitFailed
	}
	if err != nil {
		_, _ = fmt.Fprintln(to.err, "gatehouse:", err)
		return exitFailed
	}
	return 0
}

// errSaid is the error of a command that has printed what is wrong.
var errSaid = errors.New("said")

func newParser(to streams, exit func(int)) (*kong.Kong, error) {
	return newParserFor(&commands{}, to, exit)
}

func newParserFor(into *commands, to streams, exit func(int)) (*kong.Kong, error) {
	return kong.New(into, append(settings.Options(),
		kong.Name("gatehouse"),
		kong.Description("Admission control for registries of AI-agent workspaces."),
		kong.UsageOnError(),
		kong.Vars{"version": versionLine()},
		kong.Writers(to.out, to.err),
		kong.Exit(exit),
	)...)
}
