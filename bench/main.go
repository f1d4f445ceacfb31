// Command bench measures Gatehouse: beside other servers (compare), with several replicas (scale), and what each stage of
// a review allocates (allocations). The peers are servers that compare starts.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/alecthomas/kong"

	"github.com/molecule-ai/gatehouse/bench/allocations"
	"github.com/molecule-ai/gatehouse/bench/compare"
	"github.com/molecule-ai/gatehouse/bench/peers"
	"github.com/molecule-ai/gatehouse/bench/scale"
)

type commands struct {
	Compare      compare.Command     `cmd:"" help:"Gatehouse beside opa run and beside what a team would write itself: make bench."`
	Scale        scale.Command       `cmd:"" help:"One, two and four replicas behind nginx: make scale."`
	Allocations  allocations.Command `cmd:"" help:"Compare what each stage of a review allocates with a committed file."`
	DoItYourself peers.DoItYourself  `cmd:"" hidden:"" help:"Serve reviews: look up, ask OPA, insert, answer."`
	HardCoded    peers.HardCoded     `cmd:"" hidden:"" help:"Serve reviews: look up, decide in Go, answer."`
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var all commands
	chosen := kong.Parse(&all, kong.Name("bench"), kong.BindTo(ctx, (*context.Context)(nil)))
	chosen.FatalIfErrorf(chosen.Run())
}
