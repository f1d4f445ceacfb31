package decisionlog

import "maps"

// Labels are labels with those that every event has, unless they are set.
func Labels(version string, set map[string]string) map[string]string {
	labels := map[string]string{"app": "gatehouse", "version": version}
	maps.Copy(labels, set)
	return labels
}
