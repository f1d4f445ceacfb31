package metrics

import "github.com/prometheus/client_golang/prometheus"

// Settings counts what becomes of settings that lie in files which change.
type Settings struct {
	failures *prometheus.CounterVec
}

// NewSettings registers the metrics of settings.
func NewSettings(registerer prometheus.Registerer) *Settings {
	s := &Settings{failures: prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "gatehouse_setting_reread_failures_total",
		Help: "Changes of files (tokens, keys, certificates, secrets) that could not be used, by setting: what was good before stays in use.",
	}, []string{"setting"})}
	registerer.MustRegister(s.failures)
	return s
}

// Watched makes the setting's counter begin.
func (s *Settings) Watched(setting string) { s.failures.WithLabelValues(setting) }

// Failed counts a change that could not be used.
func (s *Settings) Failed(setting string) { s.failures.WithLabelValues(setting).Inc() }
