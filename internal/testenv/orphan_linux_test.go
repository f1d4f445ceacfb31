package testenv

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
)

const orphanVariable = "GATEHOUSE_TESTENV_ORPHAN"

// The test binary runs itself as the process that is killed.
func TestKilledTestBinaryLeavesNoServer(t *testing.T) {
	if os.Getenv(orphanVariable) != "" {
		holdServerUntilKilled(t)
		return
	}
	cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$")
	cmd.Env = append(os.Environ(), orphanVariable+"=1")
	output, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	address, err := bufio.NewReader(output).ReadString('\n')
	require.NoError(t, err)
	address = strings.TrimSpace(address)
	connect(t, address)

	require.NoError(t, cmd.Process.Kill())
	require.Error(t, cmd.Wait())

	require.Eventually(t, func() bool {
		conn, err := pgx.Connect(t.Context(), address)
		if err == nil {
			_ = conn.Close(t.Context())
		}
		return err != nil
	}, 10*time.Second, 50*time.Millisecond)
}

func holdServerUntilKilled(t *testing.T) {
	server := OwnPostgres(t, Options{})
	fmt.Println(server.URL("postgres"))
	<-t.Context().Done()
}
