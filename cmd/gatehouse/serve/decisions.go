package serve

import (
	"context"
	"time"

	"github.com/molecule-ai/gatehouse/adapters/decisionlog"
	"github.com/molecule-ai/gatehouse/adapters/metrics"
	"github.com/molecule-ai/gatehouse/cmd/gatehouse/flags"
	"github.com/molecule-ai/gatehouse/internal/background"
	"github.com/molecule-ai/gatehouse/server/admission"
	"github.com/molecule-ai/gatehouse/server/stream"
)

// evidence is the ledger of decisions as it is followed: by streams, and by the upload if there is one.
type evidence struct {
	hub   *stream.OnDemand[admission.Decision]
	close func()
}

// followDecisions begins to upload. It ends with ctx or when it is closed; what is recorded later is uploaded after
// the next start.
func (f uploadFlags) followDecisions(ctx context.Context, p *process, store flags.DecisionStore) (*evidence, error) {
	options := stream.DecisionOptions()
	options.Logger = p.log
	hub := stream.NewOnDemand(stream.Decisions(store), options, 0)
	if f.DecisionLogURL == "" {
		return &evidence{hub, hub.Close}, nil
	}
	collector, err := f.collector()
	if err != nil {
		return nil, err
	}
	token, err := f.token(p.settings)
	if err != nil {
		return nil, err
	}
	counter := metrics.NewDecisionLog(p.registry, func(ctx context.Context) (int64, time.Duration, error) {
		return decisionlog.Backlog(ctx, store, collector, time.Now())
	})
	uploader := decisionlog.NewUploader(hub, store, decisionlog.UploadOptions{
		URL: collector, Token: token, UserAgent: "gatehouse/" + string(p.version), MaxBytes: f.DecisionLogMaxBytes,
		Labels: decisionlog.Labels(string(p.version), f.DecisionLogLabels), Logger: p.log,
		Observe: func(result decisionlog.UploadResult) { counter.Uploaded(string(result)) },
	})
	uploading := background.Start(ctx, uploader.Run)
	return &evidence{hub, func() {
		uploading.Close()
		hub.Close()
	}}, nil
}
