package serve

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/molecule-ai/gatehouse/adapters/decisionlog"
	"github.com/molecule-ai/gatehouse/adapters/metrics"
	"github.com/molecule-ai/gatehouse/cmd/gatehouse/cli"
	"github.com/molecule-ai/gatehouse/cmd/gatehouse/flags"
	"github.com/molecule-ai/gatehouse/internal/background"
	"github.com/molecule-ai/gatehouse/internal/rereadfile"
	"github.com/molecule-ai/gatehouse/server/admission"
	"github.com/molecule-ai/gatehouse/server/stream"
)

// uploadFlags say whether decisions are uploaded to a collector of OPA's decision logs.
type uploadFlags struct {
	DecisionLogURL       string            `type:"secret" name:"decision-log-url" help:"Collector of OPA's decision logs: recorded decisions are posted to URL/logs, at least once, from the oldest that is kept on." placeholder:"URL"`
	DecisionLogToken     string            `type:"secret" help:"Bearer token for the collector; a variable is the better place for it." placeholder:"TOKEN" xor:"decision-log-token"`
	DecisionLogTokenFile string            `help:"File with the bearer token for the collector." placeholder:"FILE" type:"existingfile" xor:"decision-log-token"`
	DecisionLogMaxBytes  int               `help:"Largest upload, compressed; a single event that is larger goes alone." default:"32768"`
	DecisionLogLabels    map[string]string `help:"Labels of every event, besides app and version." placeholder:"NAME=VALUE"`
}

// collector is the URL as it is used. No error repeats it: it may hold what it must not.
func (f uploadFlags) collector() (string, error) {
	parsed, err := url.Parse(f.DecisionLogURL)
	switch {
	case err != nil || parsed.Scheme != "http" && parsed.Scheme != "https" || parsed.Host == "":
		return "", errors.New("--decision-log-url is not like https://collector.example.com")
	case parsed.User != nil || parsed.RawQuery != "" || parsed.Fragment != "":
		return "", errors.New("--decision-log-url must have no user, query or fragment; the token is --decision-log-token")
	}
	return strings.TrimRight(parsed.String(), "/"), nil
}

// token gives the token as it is now, nil for none.
func (f uploadFlags) token(reports rereadfile.Reporter) (func() string, error) {
	switch {
	case f.DecisionLogTokenFile != "":
		file, err := rereadfile.OpenText("decision-log-token-file", reports, f.DecisionLogTokenFile)
		if err != nil {
			return nil, fmt.Errorf("--decision-log-token-file: %w", err)
		}
		return file.Get, nil
	case f.DecisionLogToken != "":
		return func() string { return f.DecisionLogToken }, nil
	}
	return nil, nil
}

// check refuses what cannot work.
func (f uploadFlags) check() error {
	if f.DecisionLogMaxBytes <= 0 {
		return errors.New("--decision-log-max-bytes must be more than 0")
	}
	if f.DecisionLogURL == "" {
		return nil
	}
	_, err := f.collector()
	if err == nil {
		_, err = f.token(nil)
	}
	return err
}

// evidence is the ledger of decisions as it is followed: by streams, and by the upload if there is one.
type evidence struct {
	hub   *stream.OnDemand[admission.Decision]
	close func()
}

// followDecisions begins to upload. It ends with ctx or when it is closed; what is recorded later is uploaded after
// the next start.
func (f uploadFlags) followDecisions(
	ctx context.Context, store flags.DecisionStore, version cli.Version, registry *prometheus.Registry, reports settingReports,
) (*evidence, error) {
	logger := reports.log
	options := stream.DecisionOptions()
	options.Logger = logger
	hub := stream.NewOnDemand(stream.Decisions(store), options, 0)
	if f.DecisionLogURL == "" {
		return &evidence{hub, hub.Close}, nil
	}
	collector, err := f.collector()
	if err != nil {
		return nil, err
	}
	token, err := f.token(reports)
	if err != nil {
		return nil, err
	}
	counter := metrics.NewDecisionLog(registry, func(ctx context.Context) (int64, time.Duration, error) {
		return decisionlog.Backlog(ctx, store, collector, time.Now())
	})
	uploader := decisionlog.NewUploader(hub, store, decisionlog.UploadOptions{
		URL: collector, Token: token, UserAgent: "gatehouse/" + string(version), MaxBytes: f.DecisionLogMaxBytes,
		Labels: decisionlog.Labels(string(version), f.DecisionLogLabels), Logger: logger,
		Observe: func(result decisionlog.UploadResult) { counter.Uploaded(string(result)) },
	})
	uploading := background.Start(ctx, uploader.Run)
	return &evidence{hub, func() {
		uploading.Close()
		hub.Close()
	}}, nil
}
