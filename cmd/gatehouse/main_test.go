package main_test

import (
	"os"
	"testing"

	"github.com/molecule-ai/gatehouse/cmd/gatehouse/cmdtest"
)

func TestMain(m *testing.M) { os.Exit(cmdtest.Main(m, nil)) }
