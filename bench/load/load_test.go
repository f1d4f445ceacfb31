//go:build linux

package load_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/molecule-ai/gatehouse/bench/load"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// long is more than a run takes that ends by itself.
const long = 30 * time.Second

func post(body string) []byte {
	return fmt.Appendf(nil, "POST /x HTTP/1.1\r\nHost: bench\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
}

// serve answers what handle says, and gives the address.
func serve(t *testing.T, handle func(body string) (status int, answer string)) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		status, answer := handle(string(body))
		w.Header().Set("Content-Length", fmt.Sprint(len(answer)))
		w.WriteHeader(status)
		_, _ = io.WriteString(w, answer)
	}))
	t.Cleanup(server.Close)
	return server.Listener.Addr().String()
}

func TestEveryRequestIsSentOnce(t *testing.T) {
	var mutex sync.Mutex
	seen := make(map[string]int)
	address := serve(t, func(body string) (int, string) {
		mutex.Lock()
		defer mutex.Unlock()
		seen[body]++
		return 200, `{"allowed":false}`
	})
	requests := make([][]byte, 100)
	for i := range requests {
		requests[i] = post(fmt.Sprint(i))
	}
	result, err := load.Run(t.Context(), load.Spec{
		Address: address, Connections: 7, Duration: long, Requests: requests, Once: true, Counted: `"allowed":false`,
	})
	require.NoError(t, err)
	require.EqualValues(t, 100, result.Answers)
	require.EqualValues(t, 100, result.Counted)
	require.Zero(t, result.Errors)
	require.Len(t, seen, 100)
	require.Positive(t, result.P50)
	require.LessOrEqual(t, result.P99, result.Max)
}

func TestItEndsWhenTheTimeIsOver(t *testing.T) {
	var answered atomic.Int64
	address := serve(t, func(string) (int, string) {
		answered.Add(1)
		return 200, ""
	})
	result, err := load.Run(t.Context(), load.Spec{Address: address, Connections: 2, Duration: 20 * time.Millisecond, Requests: [][]byte{post("a")}})
	require.NoError(t, err)
	require.Positive(t, result.Answers)
	require.Equal(t, answered.Load(), result.Answers, "what was under way is waited for")
}

func TestBodiesMayBeLargerThanWhatASocketTakes(t *testing.T) {
	large := strings.Repeat("x", 8<<20)
	address := serve(t, func(body string) (int, string) { return 200, body })
	result, err := load.Run(t.Context(), load.Spec{
		Address: address, Connections: 2, Duration: long, Requests: [][]byte{post(large), post(large)}, Once: true, Counted: large,
	})
	require.NoError(t, err)
	require.EqualValues(t, 2, result.Counted)
}

func TestAnswersThatAreErrorsAreCountedAndTold(t *testing.T) {
	address := serve(t, func(body string) (int, string) {
		if body == "bad" {
			return 503, "too much"
		}
		return 200, ""
	})
	result, err := load.Run(t.Context(), load.Spec{
		Address: address, Connections: 1, Duration: long, Requests: [][]byte{post("bad"), post("good"), post("bad")}, Once: true,
	})
	require.NoError(t, err)
	require.EqualValues(t, 1, result.Answers)
	require.EqualValues(t, 2, result.Errors)
	require.Equal(t, "503 too much", result.Failure)
}

func TestAServerThatHangsUpOrSpeaksOtherwiseIsAnError(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/chunked" {
			w.(http.Flusher).Flush()
			return
		}
		panic(http.ErrAbortHandler)
	}))
	defer server.Close()
	for path, want := range map[string]string{"/chunked": "Content-Length", "/abort": "reading an answer"} {
		_, err := load.Run(t.Context(), load.Spec{
			Address: server.Listener.Addr().String(), Connections: 1, Duration: long, Once: true,
			Requests: [][]byte{fmt.Appendf(nil, "GET %s HTTP/1.1\r\nHost: bench\r\n\r\n", path)},
		})
		require.ErrorContains(t, err, want)
	}
	_, err := load.Run(t.Context(), load.Spec{Address: "127.0.0.1:1", Connections: 1, Duration: long, Requests: [][]byte{post("")}})
	require.Error(t, err)
}

func TestTheGeneratorComesFirstUnlessItIsToTakeTurns(t *testing.T) {
	address := serve(t, func(string) (int, string) { return 200, "" })
	const normal, first = 20, 40 // as the system call gives them: the greater comes first
	for _, takeTurns := range []bool{true, false} {
		var running sync.WaitGroup
		running.Go(func() { // of which the thread is, and ends with it
			runtime.LockOSThread()
			result, err := load.Run(t.Context(), load.Spec{
				Address: address, Connections: 1, Duration: long, Requests: [][]byte{post("")}, Once: true, TakeTurns: takeTurns,
			})
			assert.NoError(t, err)
			priority, err := syscall.Getpriority(syscall.PRIO_PROCESS, 0)
			assert.NoError(t, err)
			assert.Equal(t, result.First, priority == first)
			if takeTurns {
				assert.False(t, result.First)
				assert.Equal(t, normal, priority)
			}
		})
		running.Wait()
	}
}
