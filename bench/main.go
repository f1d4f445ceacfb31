//go:build linux

// Command bench measures Gatehouse: beside other servers (compare), with several replicas (scale), and what each stage
// of a review allocates (allocations). It runs itself as "load" and "bare", for processes that are measured apart.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/molecule-ai/gatehouse/bench/allocations"
	"github.com/molecule-ai/gatehouse/bench/compare"
	"github.com/molecule-ai/gatehouse/bench/rig"
	"github.com/molecule-ai/gatehouse/bench/scale"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := run(ctx, os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, arguments []string) error {
	if len(arguments) > 0 {
		switch rest := arguments[1:]; arguments[0] {
		case "compare":
			return compare.Run(ctx, rest)
		case "scale":
			return scale.Run(ctx, rest)
		case "allocations":
			return allocations.Run(ctx, rest)
		case "load":
			return rig.ServeLoad(ctx)
		case "bare":
			return compare.ServeBare(ctx, rest[0])
		}
	}
	return errors.New("usage: bench compare|scale|allocations [flags]")
}
