package sqlite_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/adapters/sqlite"
	"github.com/molecule-ai/gatehouse/server/admission"
)

const (
	recording = "recording" // records decisions for ever and prints the id of each once it is recorded
	locking   = "locking"   // holds the write lock until its standard input ends
	migrating = "migrating" // migrates once its standard input ends
	auditing  = "auditing"  // has the one right to audit until it is killed
)

// child is this test binary in another role, as another process.
type child struct {
	cmd   *exec.Cmd
	stdin io.WriteCloser
	lines *bufio.Scanner
}

func startChild(t *testing.T, role, path string) *child {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childVariable+"="+role, pathVariable+"="+path)
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	require.NoError(t, err)
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return &child{cmd: cmd, stdin: stdin, lines: bufio.NewScanner(stdout)}
}

// line waits for the child's next line.
func (c *child) line(t *testing.T) string {
	t.Helper()
	require.True(t, c.lines.Scan(), "the child ended without another line")
	return c.lines.Text()
}

// release ends the child's standard input and waits for the child.
func (c *child) release(t *testing.T) {
	t.Helper()
	require.NoError(t, c.stdin.Close())
	require.NoError(t, c.cmd.Wait())
}

func playChild(ctx context.Context, role, path string) error {
	s, err := sqlite.Open(ctx, sqlite.Options{Path: path})
	if err != nil {
		return err
	}
	switch role {
	case recording:
		return recordForEver(ctx, s)
	case locking:
		tx, err := s.Writer().BeginTx(ctx, nil)
		if err != nil {
			return err
		}
		fmt.Println("locked")
		_, err = io.Copy(io.Discard, os.Stdin)
		if err != nil {
			return err
		}
		return tx.Rollback()
	case migrating:
		fmt.Println("ready")
		_, err = io.Copy(io.Discard, os.Stdin)
		if err != nil {
			return err
		}
		return s.Migrate(ctx)
	case auditing:
		_, _, held, err := s.Exclusive(ctx, "audit")
		fmt.Println(held)
		if err != nil {
			return err
		}
		_, err = io.Copy(io.Discard, os.Stdin)
		return err
	default:
		return fmt.Errorf("no such role: %s", role)
	}
}

// recordForEver records from several goroutines, so that a batch is on its way at most moments; one of them
// records denies with their effects.
func recordForEver(ctx context.Context, s *sqlite.Store) error {
	var lines sync.Mutex
	failed := make(chan error)
	for i := range 6 {
		go func() {
			for {
				d, err := recordOne(ctx, s, i == 0)
				if err != nil {
					failed <- err
					return
				}
				lines.Lock() // nothing is buffered: a line is in the pipe when this returns
				_, _ = fmt.Printf("%s %s.\n", d.ID, map[bool]string{true: "mark", false: "allow"}[d.MarkedFailed])
				lines.Unlock()
			}
		}()
	}
	return <-failed
}

func recordOne(ctx context.Context, s *sqlite.Store, effect bool) (admission.Decision, error) {
	if !effect {
		d := allow(researcher)
		d.UID = d.ID.String()
		return s.Record(ctx, d)
	}
	err := s.PutWorkspace(ctx, modelless, admission.Workspace{Name: "again", Kind: "platform", DeliveryMode: "push"})
	if err != nil {
		return admission.Decision{}, err
	}
	facts, err := s.Facts(ctx, modelless)
	if err != nil {
		return admission.Decision{}, err
	}
	judged, err := s.RecordAndMark(ctx, deny(modelless), facts, neverJudge)
	return judged.Decision, err
}
