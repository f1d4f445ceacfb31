package program_test

import (
	"os"
	"testing"

	"github.com/molecule-ai/gatehouse/cmd/gatehouse/cmdtest"
	"github.com/molecule-ai/gatehouse/cmd/gatehouse/program"
)

func TestMain(m *testing.M) { os.Exit(cmdtest.Main(m, program.Main)) }
