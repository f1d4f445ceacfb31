package serve

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/molecule-ai/gatehouse/adapters/metrics"
	"github.com/molecule-ai/gatehouse/internal/rereadfile"
	"github.com/molecule-ai/gatehouse/server/httpapi/auth"
)

// callerTokens keep the callers up to date with --registry-token and --tokens-file.
type callerTokens struct {
	file    *rereadfile.File[[]auth.Token]
	callers *auth.Authenticator
}

// lookForTokens is how often the file is looked at. Requests do not look themselves: they are answered in microseconds.
const lookForTokens = time.Second

// tokens reads who may call.
func (c *Command) tokens(reports rereadfile.Reporter) (*callerTokens, error) {
	var registry []auth.Token
	if c.RegistryToken != "" {
		token, err := auth.NewToken("registry", auth.RoleRegistry, c.RegistryToken)
		if err != nil {
			return nil, fmt.Errorf("--registry-token: %w", err)
		}
		registry = append(registry, token)
	}
	var paths []string
	if c.TokensFile != "" {
		paths = append(paths, c.TokensFile)
	}
	file, err := rereadfile.Open("tokens-file", reports, func(contents [][]byte) ([]auth.Token, error) {
		tokens := registry
		for _, text := range contents {
			read, err := auth.ParseTokens(c.TokensFile, text)
			if err != nil {
				return nil, err
			}
			tokens = append(tokens[:len(tokens):len(tokens)], read...)
		}
		return tokens, nil
	}, paths...)
	if err != nil {
		return nil, fmt.Errorf("--tokens-file: %w", err)
	}
	callers := &auth.Authenticator{}
	callers.Use(file.Get())
	return &callerTokens{file: file, callers: callers}, nil
}

// reload uses what the file has become. What is refused leaves the callers that were known.
func (t *callerTokens) reload() {
	tokens, changed := t.file.Look()
	if changed {
		t.callers.Use(tokens)
	}
}

// run looks at the file until ctx ends.
func (t *callerTokens) run(ctx context.Context) { t.file.Follow(ctx, lookForTokens, t.callers.Use) }

// settingReports tells what becomes of settings in files that change: in the log and in the metrics.
type settingReports struct {
	meter *metrics.Settings
	log   *slog.Logger
}

func (r settingReports) Watched(setting string) { r.meter.Watched(setting) }

func (r settingReports) Reread(setting string) {
	r.log.Info("a setting was read again from its file", "setting", setting)
}

func (r settingReports) RereadFailed(setting string, err error) {
	r.meter.Failed(setting)
	r.log.Error("a setting could not be read again; what was good stays in use", "setting", setting, "error", err)
}
