package testenv

import (
	"context"
	"errors"
	"os/exec"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

func newTestScratch(t *testing.T, parent string) *scratch {
	t.Helper()
	folder, err := newScratchIn(parent, nil)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, folder.remove()) })
	return folder
}

func TestFirstStartMovesOnFromATakenPort(t *testing.T) {
	var ports []int
	s := &server{name: "the server", scratch: newTestScratch(t, t.TempDir()), ending: syscall.SIGKILL}
	s.command = func(port int) *exec.Cmd {
		ports = append(ports, port)
		if len(ports) == 1 {
			return exec.Command("sh", "-c", "echo bind: Address already in use; exit 1")
		}
		return exec.Command("sleep", "60")
	}
	s.ping = func(context.Context) error {
		if len(ports) == 1 {
			return errors.New("nobody listens")
		}
		return nil
	}

	require.NoError(t, s.startFirst(t.Context()))

	require.NoError(t, s.stop(syscall.SIGKILL))
	require.Len(t, ports, 2)
	require.NotEqual(t, ports[0], ports[1])
}
