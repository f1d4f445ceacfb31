package serve

import (
	"errors"
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/molecule-ai/gatehouse/adapters/metrics"
	"github.com/molecule-ai/gatehouse/adapters/opa"
	"github.com/molecule-ai/gatehouse/adapters/opa/verify"
)

// evaluatorFlags say by what policies are evaluated.
type evaluatorFlags struct {
	Evaluator   string  `help:"What evaluates policies: the fast path, or opa alone, which takes ten times as long." enum:"fast-path,opa" default:"fast-path"`
	VerifyShare float64 `help:"Share of the live decisions that OPA makes again, off the requests' path; where it says otherwise the fast path is turned off. 0 for none, 1 for all." default:"0.001"`
}

func (f evaluatorFlags) check() error {
	if !(f.VerifyShare >= 0 && f.VerifyShare <= 1) { // which NaN is not
		return errors.New("--verify-share must be from 0 to 1")
	}
	return nil
}

func (f evaluatorFlags) evaluatorOptions() []opa.Option {
	if f.Evaluator == "opa" {
		return []opa.Option{opa.ByOPA()}
	}
	return nil
}

// startVerifying verifies until the verifier is closed.
func (c *Command) startVerifying(engine *opa.Engine, candidates *rollout, registry *prometheus.Registry, logger *slog.Logger) *verify.Verifier {
	return verify.New(verify.Options{
		Policies: engine, Meter: metrics.NewVerify(registry), Logger: logger, Share: c.VerifyShare,
		Evaluator: candidates.background(c.PolicyTimeout),
	})
}
