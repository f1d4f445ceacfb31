// Package metrics counts what Gatehouse does, for Prometheus.
//
// Names and labels are those that operators build on: changing one breaks dashboards and alerts. No label
// carries an id, and every label's values are bounded by the code or by configuration.
package metrics
