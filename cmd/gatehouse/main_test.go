package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/molecule-ai/gatehouse/internal/testenv"
)

func TestMain(m *testing.M) {
	code := testenv.Main(m)
	if path := built.path; path != "" {
		_ = os.RemoveAll(filepath.Dir(path))
	}
	os.Exit(code)
}
