package announce_test

import (
	"os"
	"testing"

	"gatehouse/internal/testenv"
)

func TestMain(m *testing.M) { os.Exit(testenv.Main(m)) }
