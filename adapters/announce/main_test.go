package announce_test

import (
	"flag"
	"os"
	"testing"

	"github.com/molecule-ai/gatehouse/internal/testenv"
)

func TestMain(m *testing.M) {
	flag.Parse()
	// These tests wait for retries and for servers, not for processors.
	err := flag.Set("test.parallel", "8")
	if err != nil {
		panic(err)
	}
	os.Exit(testenv.Main(m))
}
