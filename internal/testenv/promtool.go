package testenv

import (
	"context"
	"path/filepath"
)

func promtoolTool() tool {
	return tool{programs: []string{"promtool"}, debian: "prometheus"}
}

// Promtool returns the path of Prometheus' promtool, which it installs when it
// may.
func Promtool(ctx context.Context) (string, error) {
	return promtool(ctx, systemFinder())
}

func promtool(ctx context.Context, find finder) (string, error) {
	folder, err := find.find(ctx, promtoolTool())
	if err != nil {
		return "", err
	}
	return filepath.Join(folder, "promtool"), nil
}
