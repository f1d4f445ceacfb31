package testenv

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

func postgresTool() tool {
	return tool{
		programs:  []string{"postgres", "initdb"},
		folders:   "/usr/lib/postgresql/*/bin",
		debian:    "postgresql",
		otherwise: "set " + DatabaseVariable + " to the URL of a PostgreSQL superuser",
	}
}

const postgresUser = "postgres"

// StopMode is the signal that tells a PostgreSQL server how to stop.
type StopMode syscall.Signal

const (
	// Fast ends sessions in order and writes a checkpoint.
	Fast = StopMode(syscall.SIGINT)
	// Immediate is a crash: every server process ends at once, and the next
	// start recovers from the write-ahead log.
	Immediate = StopMode(syscall.SIGQUIT)
)

// Options of [StartPostgres]. The zero value is a fast server, which keeps what
// is committed over any Stop, but not over a crash of the machine.
type Options struct {
	// Durable syncs to disk as a production server does, for benchmarks and for
	// tests about its cost.
	Durable bool
}

// PostgresServer is a throwaway PostgreSQL. It keeps its data over Stop and
// Start.
type PostgresServer struct {
	*server

	programs string
	password string
	durable  bool
}

// StartPostgres starts a server that the caller has to Close. ctx bounds the
// start, installing PostgreSQL included, not the server's life.
func StartPostgres(ctx context.Context, options Options) (*PostgresServer, error) {
	return startPostgres(ctx, systemFinder(), options)
}

func startPostgres(ctx context.Context, find finder, options Options) (*PostgresServer, error) {
	programs, err := find.find(ctx, postgresTool())
	if err != nil {
		return nil, err
	}
	// After the look-up, because Debian's package brings the account postgres.
	folder, err := newScratch()
	if err != nil {
		return nil, err
	}
	p := &PostgresServer{programs: programs, password: newPassword(), durable: options.Durable}
	p.server = &server{
		name:    "PostgreSQL",
		scratch: folder,
		command: p.command,
		ping:    p.ping,
		ending:  syscall.SIGQUIT,
	}
	err = p.initialise(ctx)
	if err == nil {
		err = p.startFirst(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return p, nil
}

// initialise makes the data folder. Passwords cross the loopback in the clear:
// SCRAM's thousands of hash rounds a connection would only slow tests down.
func (p *PostgresServer) initialise(ctx context.Context) error {
	const passwordFile = "password"
	folder := p.scratch
	err := os.WriteFile(folder.file(passwordFile), []byte(p.password), 0o600)
	if err != nil {
		return fmt.Errorf("writing PostgreSQL's password file: %w", err)
	}
	err = folder.give(passwordFile)
	if err != nil {
		return fmt.Errorf("handing over PostgreSQL's password file: %w", err)
	}
	cmd := exec.CommandContext(ctx, filepath.Join(p.programs, "initdb"),
		"--pgdata", folder.file(dataFolder), "--username", postgresUser,
		"--auth", "password", "--pwfile", folder.file(passwordFile),
		"--encoding", "UTF8", "--locale", "C", "--no-sync")
	p.confine(cmd)
	output, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("running initdb: %w: %s", err, output)
	}
	return nil
}

func (p *PostgresServer) command(port int) *exec.Cmd {
	settings := map[string]string{
		"listen_addresses": loopback,
		"port":             strconv.Itoa(port),
		// Nobody needs a socket, and a long TMPDIR would break its path.
		"unix_socket_directories": "",
		"max_connections":         "300",
		"shared_buffers":          "32MB",
		// Planning time of short statements, not the speed of long ones, matters.
		"jit": "off",
	}
	if !p.durable {
		// Commits still reach the operating system one by one (synchronous_commit
		// stays on, and costs little without fsync): an Immediate stop loses none.
		settings["fsync"] = "off"
		settings["full_page_writes"] = "off"
	}
	arguments := []string{"-D", p.scratch.file(dataFolder)}
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		arguments = append(arguments, "-c", name+"="+settings[name])
	}
	return exec.Command(filepath.Join(p.programs, "postgres"), arguments...)
}

func (p *PostgresServer) ping(ctx context.Context) error { return execute(ctx, p.URL("postgres"), "") }

// URL is the address of one of the server's databases, as its superuser. It
// stays the same over Stop and Start.
func (p *PostgresServer) URL(database string) string {
	address := url.URL{
		Scheme:   "postgres",
		User:     url.UserPassword(postgresUser, p.password),
		Host:     p.address(),
		Path:     "/" + database,
		RawQuery: "sslmode=disable",
	}
	return address.String()
}

// CreateDatabase makes a database that lives as long as the server, and returns
// its URL. It is for tests that stop the server; others use [DatabaseURL].
func (p *PostgresServer) CreateDatabase(ctx context.Context, fixture Fixture) (string, error) {
	statements, err := fixture.statements()
	if err != nil {
		return "", err
	}
	name := "test_" + strings.ReplaceAll(uuid.NewString(), "-", "")
	err = execute(ctx, p.URL("postgres"), "create database "+name)
	if err != nil {
		return "", fmt.Errorf("creating a database: %w", err)
	}
	err = execute(ctx, p.URL(name), statements)
	if err != nil {
		return "", fmt.Errorf("filling a database with the fixture %s: %w", fixture, err)
	}
	return p.URL(name), nil
}

func execute(ctx context.Context, address, statements string) error {
	conn, err := pgx.Connect(ctx, address)
	if err != nil {
		return err
	}
	_, err = conn.Exec(ctx, statements)
	return errors.Join(err, conn.Close(ctx))
}

// Stop returns once the server has ended.
func (p *PostgresServer) Stop(mode StopMode) error { return p.stop(syscall.Signal(mode)) }
