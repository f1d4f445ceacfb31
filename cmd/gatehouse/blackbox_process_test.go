package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
)

// patience is how long a test waits for what must happen: long, because machines are busy, and only ever
// spent in full by a test that fails.
const patience = 30 * time.Second

// tick is how often a condition is looked at.
const tick = 20 * time.Millisecond

// demoWithoutModel is the platform workspace of --demo that nobody gave a MODEL.
var demoWithoutModel = uuid.MustParse("00000000-0000-4000-8000-000000000002")

// built is the real program, built once for this run of the tests; TestMain removes it.
var built struct {
	once sync.Once
	path string
	err  error
}

// buildProgram builds the program with the race detector if this test has it.
func buildProgram() (string, error) {
	built.once.Do(func() {
		folder, err := os.MkdirTemp("", "gatehouse-blackbox-")
		if err != nil {
			built.err = err
			return
		}
		built.path = filepath.Join(folder, "gatehouse")
		args := []string{"build", "-o", built.path}
		if raceEnabled() {
			args = append(args, "-race")
		}
		output, err := exec.Command("go", append(args, ".")...).CombinedOutput()
		if err != nil {
			built.err = fmt.Errorf("building the program: %w\n%s", err, output)
		}
	})
	return built.path, built.err
}

func raceEnabled() bool {
	info, _ := debug.ReadBuildInfo()
	for _, setting := range info.Settings {
		if setting.Key == "-race" {
			return setting.Value == "true"
		}
	}
	return false
}

// program is a running gatehouse serve.
type program struct {
	t       *testing.T
	url     string
	command *exec.Cmd
	exited  chan struct{}
	client  *http.Client
	// listening has the address once there is one.
	listening chan string

	mu  sync.Mutex
	log bytes.Buffer
}

// patient are deadlines for tests of anything but deadlines: with the race detector and a busy machine, fifty
// requests at once take longer than the default ones allow.
var patient = []string{"--facts-timeout", "10s", "--policy-timeout", "10s", "--request-timeout", "20s"}

// start runs gatehouse serve on a free port of loopback, waits until it listens, and ends it with the test.
func start(t *testing.T, args ...string) *program {
	t.Helper()
	p := launch(t, args...)
	select {
	case address := <-p.listening:
		p.url = "http://" + address
	case <-p.exited:
		require.FailNow(t, "the program ended", p.logged())
	case <-time.After(patience):
		require.FailNow(t, "the program does not listen", p.logged())
	}
	return p
}

// launch is start without the wait.
func launch(t *testing.T, args ...string) *program {
	t.Helper()
	path, err := buildProgram()
	require.NoError(t, err)
	p := &program{t: t, exited: make(chan struct{}), listening: make(chan string, 1), client: &http.Client{Timeout: patience}}
	p.command = exec.Command(path, append([]string{"serve", "--listen", "127.0.0.1:0", "--shutdown-delay", "0s"}, args...)...)
	p.command.Dir = t.TempDir()
	p.command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	// The race detector waits a second at exit by default, and a race must fail the test by the exit code.
	p.command.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0 halt_on_error=1 exitcode=66")
	lines, err := p.command.StderrPipe()
	require.NoError(t, err)
	require.NoError(t, p.command.Start())
	go p.read(lines)
	t.Cleanup(p.end)
	return p
}

func (p *program) read(lines io.Reader) {
	defer close(p.exited)
	scanner := bufio.NewScanner(lines)
	for scanner.Scan() {
		p.mu.Lock()
		p.log.Write(scanner.Bytes())
		p.log.WriteByte('\n')
		p.mu.Unlock()
		var line struct{ Msg, Address string }
		if json.Unmarshal(scanner.Bytes(), &line) == nil && line.Msg == "serving" {
			p.listening <- line.Address
		}
	}
}

func (p *program) logged() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.log.String()
}

// end stops the program as an operator would, and fails the test if it did not end well.
func (p *program) end() {
	if p.command.ProcessState != nil {
		return
	}
	_ = p.command.Process.Signal(syscall.SIGTERM)
	err := p.wait()
	if p.t.Failed() {
		p.t.Log(p.logged())
		return
	}
	require.NoError(p.t, err, p.logged())
}

// wait waits for the program's end and gives what its exit code says.
func (p *program) wait() error {
	select {
	case <-p.exited:
	case <-time.After(patience):
		_ = p.command.Process.Kill()
		<-p.exited
	}
	p.client.CloseIdleConnections()
	return p.command.Wait()
}

// kill is kill -9.
func (p *program) kill() {
	require.NoError(p.t, p.command.Process.Kill())
	_ = p.wait()
}

func (p *program) waitReady() *program {
	p.t.Helper()
	require.Eventually(p.t, func() bool {
		status, _ := p.get("/readyz")
		return status == http.StatusOK
	}, patience, 20*time.Millisecond, "never ready")
	return p
}

func (p *program) get(path string) (int, string) {
	response, err := p.client.Get(p.url + path)
	if err != nil {
		return 0, err.Error()
	}
	return readAll(response)
}

func readAll(response *http.Response) (int, string) {
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return 0, err.Error()
	}
	return response.StatusCode, string(body)
}

func (p *program) post(path, body string) (int, string) {
	response, err := p.client.Post(p.url+path, "application/json", strings.NewReader(body))
	if err != nil {
		return 0, err.Error()
	}
	return readAll(response)
}

// wireAnswer is an answer as a registry reads it.
type wireAnswer struct {
	UID        string `json:"uid"`
	DecisionID string `json:"decision_id"`
	Allowed    *bool  `json:"allowed"`
	Status     *struct {
		Code    int    `json:"code"`
		Reason  string `json:"reason"`
		Message string `json:"message"`
	} `json:"status"`
	Violations []struct {
		Rule, Code, Reason, Message, Severity, Enforcement string
	} `json:"violations"`
	Warnings     []string         `json:"warnings"`
	MarkedFailed bool             `json:"marked_failed"`
	Event        *json.RawMessage `json:"event"`
	Revision     string           `json:"policy_revision"`
}

// review posts a review and requires a decision.
func (p *program) review(hook, body string) wireAnswer {
	p.t.Helper()
	status, text := p.post("/v1/admission/"+hook, body)
	require.Equal(p.t, http.StatusOK, status, text)
	return parseAnswer(p.t, text)
}

func parseAnswer(t *testing.T, text string) wireAnswer {
	t.Helper()
	var answer wireAnswer
	require.NoError(t, json.Unmarshal([]byte(text), &answer), text)
	require.NotNil(t, answer.Allowed, text)
	return answer
}
