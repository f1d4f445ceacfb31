package serve

import (
	"log/slog"

	"github.com/molecule-ai/gatehouse/adapters/metrics"
)

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
