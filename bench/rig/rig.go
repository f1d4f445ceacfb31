// Package rig is what compare and scale share: servers and a durable Postgres as processes of their own, the processor
// time that they use, the load on them, the workspaces that are asked about, and the page that takes the tables. It is
// for one Linux machine.
package rig

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/molecule-ai/gatehouse/internal/testenv"
)

// Options are flags of compare and of scale.
type Options struct {
	Repository string `help:"Folder of Gatehouse's sources." default:"." type:"path"`
	Gatehouse  string `help:"The program." default:"bin/gatehouse" type:"path"`
	Policy     string `help:"Folder of the policy." default:"bench/policy" type:"path"`
	Rounds     int    `help:"Medians are over so many rounds." default:"5"`
	Seconds    int    `help:"Length of one run." default:"2"`
	Write      string `help:"Page whose tables are replaced." placeholder:"PAGE" type:"path"`
}

// Validate is called by the parser of flags.
func (o *Options) Validate() error {
	if o.Rounds < 1 || o.Seconds < 1 {
		return errors.New("--rounds and --seconds are at least 1")
	}
	return nil
}

// Progress says on standard error how far a run is.
func Progress(format string, values ...any) { fmt.Fprintf(os.Stderr, format+"\n", values...) }

// Rig is a folder for what servers write, and all that has to be closed.
type Rig struct {
	Folder  string
	wrk     string
	closers []func() error
}

// New makes an empty one.
func New(ctx context.Context) (*Rig, error) {
	wrk, err := testenv.Program(ctx, "wrk", "wrk")
	if err != nil {
		return nil, err
	}
	folder, err := os.MkdirTemp("", "gatehouse-bench-*")
	if err != nil {
		return nil, err
	}
	return &Rig{Folder: folder, wrk: wrk, closers: []func() error{func() error { return os.RemoveAll(folder) }}}, nil
}

// OnClose has Close call something, before everything that was given earlier.
func (r *Rig) OnClose(closer func() error) { r.closers = append(r.closers, closer) }

// Close ends everything.
func (r *Rig) Close() error {
	var all []error
	for i := len(r.closers) - 1; i >= 0; i-- {
		all = append(all, r.closers[i]())
	}
	return errors.Join(all...)
}

// Start runs a server until Close. Its arguments are made once its address is known; path answers 200 when it is ready.
func (r *Rig) Start(ctx context.Context, name, path string, arguments func(address string) []string) (*Process, error) {
	address, err := FreeAddress(ctx)
	if err != nil {
		return nil, err
	}
	p, err := startProcess(ctx, r.Folder, name, address, path, arguments(address)...)
	if err != nil {
		return nil, err
	}
	r.OnClose(p.Stop)
	return p, nil
}

// Serve starts a Gatehouse with profiles.
func (r *Rig) Serve(ctx context.Context, name string, o Options, database string, more ...string) (*Process, error) {
	admin, err := FreeAddress(ctx)
	if err != nil {
		return nil, err
	}
	p, err := r.Start(ctx, name, "/readyz", func(address string) []string {
		return append([]string{
			o.Gatehouse, "serve", "--listen", address, "--shutdown-delay", "0s", "--policies", o.Policy, "--database-url", database,
			"--pprof", "--admin-listen", admin,
		}, more...)
	})
	if err == nil {
		p.Admin = admin
	}
	return p, err
}
