package check_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/adapters/opa/check"
)

// A rule whose name is nearly that of a test would never run. It is refused, unless something uses it.
func TestTestsRefusesNamesThatAreNearlyThoseOfTests(t *testing.T) {
	tests := func(text string) error {
		return check.Tests(map[string][]byte{"x_test.rego": []byte("package x_test\n\n" + text)}, nil)
	}
	for _, name := range []string{"testb", "tests_b", "Test_b", "tset_b", "tst_b", "tesst_b", "todo_tset_b"} {
		require.ErrorContains(t, tests(name+" if false\n"), "line 3: "+name+" would not run, and nothing uses it", name)
		require.NoError(t, tests(name+" if false\n\ntest_b if not "+name+"\n"), "%s is a helper", name)
		require.NoError(t, tests(name+" if false\n\ntest_b if not data.x_test."+name+"\n"), "%s is a helper", name)
		require.NoError(t, tests(name+"(x) if x\n"), "%s takes an argument, as no test does", name)
	}
	for _, name := range []string{"test_b", "todo_test_b", "text_b", "best_b", "rest", "latest", "input_b", "t"} {
		require.NoError(t, tests(name+" if false\n"), name)
	}
}
