package testenv

import (
	"context"
	"path/filepath"
)

// Program returns the path of a program, and installs the Debian package that brings it when it may.
func Program(ctx context.Context, name, debian string) (string, error) {
	// Debian puts some servers where only root's PATH leads.
	folder, err := systemFinder().find(ctx, tool{programs: []string{name}, folders: "/usr/sbin", debian: debian})
	if err != nil {
		return "", err
	}
	return filepath.Join(folder, name), nil
}
