// Package cmdtest has what tests of the commands share: the built program, the registry's own side, files and stores.
package cmdtest

import (
	"bufio"
	"bytes"
	"encoding/json"
	"flag"
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

	"github.com/molecule-ai/gatehouse/internal/testenv"
)

// Patience is how long a test waits for what must happen: long, because machines are busy, and only ever
// spent in full by a test that fails.
const Patience = 90 * time.Second

// Tick is how often a condition is looked at.
const Tick = 20 * time.Millisecond

// DemoWithoutModel is the platform workspace of --demo that nobody gave a MODEL.
var DemoWithoutModel = uuid.MustParse("00000000-0000-4000-8000-000000000002")

// built is the real program, built once for this run of the tests; TestMain removes it.
var built struct {
	once   sync.Once
	folder string
	path   string
	err    error
}

// BuildProgram builds the program with the race detector if this test has it.
func BuildProgram() (string, error) {
	built.once.Do(func() {
		folder, err := os.MkdirTemp("", "gatehouse-blackbox-")
		if err != nil {
			built.err = err
			return
		}
		built.folder, built.path = folder, filepath.Join(folder, "gatehouse")
		args := []string{"build", "-o", built.path}
		if raceEnabled() {
			args = append(args, "-race")
		}
		output, err := exec.Command("go", append(args, "github.com/molecule-ai/gatehouse/cmd/gatehouse")...).CombinedOutput()
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

// Program is a running gatehouse serve.
type Program struct {
	T       *testing.T
	URL     string
	Command *exec.Cmd
	exited  chan struct{}
	Client  *http.Client
	// listening has the address once there is one.
	listening chan string

	mu  sync.Mutex
	log bytes.Buffer
}

// Patient are deadlines for tests of anything but deadlines: with the race detector and a busy machine, fifty
// requests at once take longer than the default ones allow.
var Patient = []string{"--facts-timeout", "10s", "--policy-timeout", "10s", "--request-timeout", "20s"}

// Start runs gatehouse serve on a free port of loopback, waits until it listens, and ends it with the test.
func Start(t *testing.T, args ...string) *Program {
	t.Helper()
	p := Launch(t, args...)
	select {
	case address := <-p.listening:
		p.URL = "http://" + address
	case <-p.exited:
		require.FailNow(t, "the program ended", p.Logged())
	case <-time.After(Patience):
		require.FailNow(t, "the program does not listen", p.Logged())
	}
	return p
}

// Launch is start without the wait.
func Launch(t *testing.T, args ...string) *Program {
	t.Helper()
	path, err := BuildProgram()
	require.NoError(t, err)
	p := &Program{T: t, exited: make(chan struct{}), listening: make(chan string, 1), Client: &http.Client{Timeout: Patience}}
	p.Command = exec.Command(path, append([]string{"serve", "--listen", "127.0.0.1:0", "--shutdown-delay", "0s"}, args...)...)
	p.Command.Dir = t.TempDir()
	p.Command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	// The race detector waits a second at exit by default, and a race must fail the test by the exit code.
	p.Command.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0 halt_on_error=1 exitcode=66")
	lines, err := p.Command.StderrPipe()
	require.NoError(t, err)
	require.NoError(t, p.Command.Start())
	go p.read(lines)
	t.Cleanup(p.End)
	return p
}

func (p *Program) read(lines io.Reader) {
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

func (p *Program) Logged() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.log.String()
}

// End stops the program as an operator would, and fails the test if it did not end well.
func (p *Program) End() {
	if p.Command.ProcessState != nil {
		return
	}
	_ = p.Command.Process.Signal(syscall.SIGTERM)
	err := p.Wait()
	if p.T.Failed() {
		p.T.Log(p.Logged())
		return
	}
	require.NoError(p.T, err, p.Logged())
}

// Wait waits for the program's end and gives what its exit code says.
func (p *Program) Wait() error {
	select {
	case <-p.exited:
	case <-time.After(Patience):
		_ = p.Command.Process.Kill()
		<-p.exited
	}
	p.Client.CloseIdleConnections()
	return p.Command.Wait()
}

// Kill is kill -9.
func (p *Program) Kill() {
	require.NoError(p.T, p.Command.Process.Kill())
	_ = p.Wait()
}

func (p *Program) WaitReady() *Program {
	p.T.Helper()
	require.Eventually(p.T, func() bool {
		status, _ := p.Get("/readyz")
		return status == http.StatusOK
	}, Patience, 20*time.Millisecond, "never ready")
	return p
}

func (p *Program) Get(path string) (int, string) {
	response, err := p.Client.Get(p.URL + path) //nolint:bodyclose // ReadAll closes it
	if err != nil {
		return 0, err.Error()
	}
	return ReadAll(response)
}

func ReadAll(response *http.Response) (int, string) {
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return 0, err.Error()
	}
	return response.StatusCode, string(body)
}

func (p *Program) Post(path, body string) (int, string) {
	response, err := p.Client.Post(p.URL+path, "application/json", strings.NewReader(body)) //nolint:bodyclose // ReadAll closes it
	if err != nil {
		return 0, err.Error()
	}
	return ReadAll(response)
}

// WireAnswer is an answer as a registry reads it.
type WireAnswer struct {
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

// Review posts a review and requires a decision.
func (p *Program) Review(hook, body string) WireAnswer {
	p.T.Helper()
	status, text := p.Post("/v1/admission/"+hook, body)
	require.Equal(p.T, http.StatusOK, status, text)
	return ParseAnswer(p.T, text)
}

func ParseAnswer(t *testing.T, text string) WireAnswer {
	t.Helper()
	var answer WireAnswer
	require.NoError(t, json.Unmarshal([]byte(text), &answer), text)
	require.NotNil(t, answer.Allowed, text)
	return answer
}

// Metric gives the value of a series, "0" if it is not there.
func (p *Program) Metric(series string) string {
	p.T.Helper()
	status, text := p.Get("/metrics")
	require.Equal(p.T, http.StatusOK, status)
	for line := range strings.Lines(text) {
		if value, found := strings.CutPrefix(line, series+" "); found {
			return strings.TrimSpace(value)
		}
	}
	return "0"
}

// WaitLogged waits until the program has logged something.
func (p *Program) WaitLogged(text string) {
	p.T.Helper()
	require.Eventually(p.T, func() bool { return strings.Contains(p.Logged(), text) }, Patience, Tick, "%s is not logged", text)
}

func (p *Program) Tell(signal syscall.Signal) {
	p.T.Helper()
	require.NoError(p.T, p.Command.Process.Signal(signal))
}

func Denials(hook string) string {
	return fmt.Sprintf(`gatehouse_admission_decisions_total{code="PLATFORM_AGENT_IDENTITY_GATE",decision="deny",hook=%q,kind="platform"}`, hook)
}

func DemoReview(n int) string {
	return fmt.Sprintf(`{"workspace": {"id": "00000000-0000-4000-8000-%012d", "url": "https://agent.example.com"}}`, n)
}

// asProgram is the variable by which a test binary is the program: building that once for each package took longer than
// most tests. The package of main builds the real one.
const asProgram = "GATEHOUSE_TEST_AS_PROGRAM"

// parallel is how many tests of the built program run at once: they mostly wait for processes, servers and deliveries.
const parallel = "4"

// Main runs the tests of a package, and takes away what they built and started. Where program is given, Start runs it from
// the test binary itself.
func Main(m *testing.M, program func(linked string) int) int {
	if program != nil {
		if os.Getenv(asProgram) != "" {
			return program("")
		}
		built.once.Do(func() { built.path, built.err = os.Executable() })
	}
	flag.Parse()
	var err error
	if program != nil {
		err = os.Setenv(asProgram, "1")
	} else {
		err = flag.Set("test.parallel", parallel)
	}
	if err != nil {
		panic(err)
	}
	code := testenv.Main(m)
	if built.folder != "" {
		_ = os.RemoveAll(built.folder)
	}
	return code
}
