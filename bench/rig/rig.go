//go:build linux

package rig

import (
	"context"
	"errors"
	"os"
)

// Rig is a folder for what servers write, and everything that has to be closed.
type Rig struct {
	Folder  string
	closers []func() error
}

// New makes an empty one.
func New(name string) (*Rig, error) {
	folder, err := os.MkdirTemp("", name+"-*")
	if err != nil {
		return nil, err
	}
	r := &Rig{Folder: folder}
	r.OnClose(func() error { return os.RemoveAll(folder) })
	return r, nil
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

// Start runs a server until Close; its arguments are made once its address is known.
func (r *Rig) Start(ctx context.Context, name, path string, arguments func(address string) []string) (*Process, error) {
	address, err := FreeAddress(ctx)
	if err != nil {
		return nil, err
	}
	p, err := StartServer(ctx, r.Folder, name, address, path, arguments(address)...)
	if err != nil {
		return nil, err
	}
	r.OnClose(p.Stop)
	return p, nil
}

// Gatehouse is how its program is to serve.
type Gatehouse struct {
	Program, Policies, Database string
	More                        []string // arguments
}

// Serve starts a Gatehouse, with profiles.
func (r *Rig) Serve(ctx context.Context, name string, g Gatehouse) (*Process, error) {
	admin, err := FreeAddress(ctx)
	if err != nil {
		return nil, err
	}
	p, err := r.Start(ctx, name, "/readyz", func(address string) []string {
		return append([]string{
			g.Program, "serve", "--listen", address, "--shutdown-delay", "0s", "--policies", g.Policies, "--database-url", g.Database,
			"--pprof", "--admin-listen", admin,
		}, g.More...)
	})
	if err == nil {
		p.Admin = admin
	}
	return p, err
}
