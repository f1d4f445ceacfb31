// Package program puts all commands behind one command line.
package program

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime/debug"

	"github.com/alecthomas/kong"

	"github.com/molecule-ai/gatehouse/cmd/gatehouse/author"
	"github.com/molecule-ai/gatehouse/cmd/gatehouse/cli"
	"github.com/molecule-ai/gatehouse/cmd/gatehouse/operate"
	"github.com/molecule-ai/gatehouse/cmd/gatehouse/serve"
	"github.com/molecule-ai/gatehouse/cmd/gatehouse/settings"
)

// Commands are the subcommands. Flags are also GATEHOUSE_* variables and keys of the --config file.
type Commands struct {
	Config      string           `help:"YAML file of flags by their names; flags and variables come first." placeholder:"FILE"`
	ShowVersion kong.VersionFlag `name:"version" env:"-" help:"Say which version this is."`

	Serve         serve.Command         `cmd:"" help:"Answer registries."`
	Check         author.Check          `cmd:"" help:"Compile and type-check policies."`
	Test          author.Test           `cmd:"" help:"Run Rego tests and case files, with coverage."`
	Eval          author.Eval           `cmd:"" help:"Decide one review from a file and explain."`
	Fmt           author.Fmt            `cmd:"" help:"Format Rego files."`
	Policies      author.Policies       `cmd:"" help:"The catalogue of rules."`
	Bundle        author.Bundle         `cmd:"" help:"Make, sign and check OPA bundles of policies."`
	Replay        operate.Replay        `cmd:"" help:"Show which recorded decisions policies would change."`
	Audit         operate.Audit         `cmd:"" help:"Hold every stored workspace to the policies."`
	Bench         operate.Bench         `cmd:"" help:"Load a running server and report how long its answers take."`
	Schema        author.Schema         `cmd:"" help:"Print the JSON schema of the input or of case files."`
	Decisions     operate.Decisions     `cmd:"" help:"What was decided: list, show, tail, export."`
	Announcements operate.Announcements `cmd:"" help:"Look at what goes out to sinks, retry and discard it."`
	Migrate       operate.Migrate       `cmd:"" help:"Bring the database's own tables up to date."`
	Version       versionCommand        `cmd:"" help:"Say which version this is."`

	warnings []string // of variables that have no effect
}

// BeforeReset comes before kong looks at variables.
func (c *Commands) BeforeReset(ctx *kong.Context) error {
	settings.TakeVariables(ctx)
	return nil
}

// BeforeResolve reads the configuration file and the variables, when kong knows which command is meant.
func (c *Commands) BeforeResolve(ctx *kong.Context) error {
	read, err := settings.Read(ctx, os.Environ())
	if err != nil {
		return err
	}
	ctx.AddResolver(read)
	c.warnings = read.Warnings(ctx.Model)
	return nil
}

// AfterApply tells which variables have no effect: a server does in its log.
func (c *Commands) AfterApply(ctx *kong.Context) error {
	if ctx.Command() == "serve" {
		logger, flush := c.Serve.Logger(cli.Streams{Err: ctx.Stderr})
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

// garbagePercent is how much garbage there may be, in percent of the memory in use, before it is collected. The memory in
// use is so little that at Go's default of 100 a busy server collects fifty times a second.
const garbagePercent = 150

// Main does the command of this process and gives its exit code. linked is the version that the linker was told.
func Main(linked string) int {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(garbagePercent)
	}
	ctx, stop := serve.UntilTold(context.Background())
	defer stop()
	return Run(ctx, cli.VersionOf(linked), os.Args[1:], cli.Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr})
}

// Run does one command and gives the exit code.
func Run(ctx context.Context, version cli.Version, args []string, to cli.Streams) int {
	exited := -1
	parser, err := NewParser(&Commands{}, version, to, func(code int) { exited = code })
	if err != nil {
		_, _ = fmt.Fprintln(to.Err, "gatehouse:", err)
		return cli.ExitUsage
	}
	if len(args) > 0 && args[0] == "help" {
		args = append(args[1:], "--help")
	}
	command, err := parser.Parse(args)
	if exited >= 0 { // --help or --version has been printed
		return exited
	}
	if err != nil {
		_, _ = fmt.Fprintln(to.Err, "gatehouse:", settings.WithoutArguments(err, args))
		return cli.ExitUsage
	}
	command.BindTo(ctx, (*context.Context)(nil))
	err = command.Run(to)
	if errors.Is(err, cli.ErrSaid) {
		return cli.ExitFailed
	}
	if err != nil {
		_, _ = fmt.Fprintln(to.Err, "gatehouse:", err)
		return cli.ExitFailed
	}
	return 0
}

func NewParser(into *Commands, version cli.Version, to cli.Streams, exit func(int)) (*kong.Kong, error) {
	return kong.New(into, append(settings.Options(),
		kong.Name("gatehouse"),
		kong.Description("Admission control for registries of AI-agent workspaces."),
		kong.UsageOnError(),
		kong.Vars{"version": version.Line()},
		kong.Bind(version),
		kong.Writers(to.Out, to.Err),
		kong.Exit(exit),
	)...)
}

type versionCommand struct{}

// Run prints the version of the program and of what it was built with.
func (versionCommand) Run(to cli.Streams, version cli.Version) error {
	_, err := fmt.Fprintln(to.Out, version.Line())
	return err
}
