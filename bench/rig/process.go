package rig

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/prometheus/procfs"
)

// Process is a server that is measured.
type Process struct {
	Name    string
	Address string
	Admin   string // where its profiles are; "" for nowhere
	command *exec.Cmd
	log     string
	ended   chan error
}

// patience is for a server that starts or stops while the machine is busy.
const patience = 30 * time.Second

// startProcess waits until the server is ready. What it prints goes into a file.
func startProcess(ctx context.Context, folder, name, address, path string, arguments ...string) (*Process, error) {
	p := &Process{Name: name, Address: address, log: filepath.Join(folder, name+".log"), ended: make(chan error, 1)}
	log, err := os.Create(p.log)
	if err != nil {
		return nil, err
	}
	defer func() { _ = log.Close() }() // the process has its own
	p.command = exec.Command(arguments[0], arguments[1:]...)
	p.command.Stdout, p.command.Stderr, p.command.Dir = log, log, folder
	err = p.command.Start()
	if err != nil {
		return nil, fmt.Errorf("starting %s: %w", name, err)
	}
	go func() { p.ended <- p.command.Wait() }()
	err = p.waitReady(ctx, path)
	if err != nil {
		return nil, errors.Join(err, p.Stop())
	}
	return p, nil
}

func (p *Process) waitReady(ctx context.Context, path string) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		_, err := get(ctx, "http://"+p.Address+path)
		if err == nil {
			return nil
		}
		select {
		case err := <-p.ended:
			p.ended <- err
			said, _ := os.ReadFile(p.log)
			return fmt.Errorf("%s ended while it started: %w: %s", p.Name, err, said[max(len(said)-2000, 0):])
		case <-ctx.Done():
			return fmt.Errorf("%s did not become ready: %w", p.Name, ctx.Err())
		case <-time.After(time.Millisecond):
		}
	}
}

func get(ctx context.Context, url string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("GET %s: %s", url, response.Status)
	}
	return io.ReadAll(response.Body)
}

// Profile keeps a CPU profile of the next seconds.
func (p *Process) Profile(ctx context.Context, file string, seconds int) error {
	text, err := get(ctx, fmt.Sprintf("http://%s/debug/pprof/profile?seconds=%d", p.Admin, seconds))
	if err != nil {
		return err
	}
	return os.WriteFile(file, text, 0o644) //nolint:gosec // a profile holds nothing secret
}

// Stop may be called again.
func (p *Process) Stop() error {
	_ = p.command.Process.Signal(syscall.SIGTERM) // it may have ended
	select {
	case err := <-p.ended:
		p.ended <- err
		if err != nil {
			return fmt.Errorf("%s did not stop well: %w", p.Name, err)
		}
		return nil
	case <-time.After(patience):
		return errors.Join(fmt.Errorf("%s did not stop when it was told to", p.Name), p.command.Process.Kill())
	}
}

// FreeAddress is a port of this machine that nobody has now.
func FreeAddress(ctx context.Context) (string, error) {
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return listener.Addr().String(), listener.Close()
}

func (p *Process) stat() (procfs.ProcStat, error) { return statOf(p.command.Process.Pid) }

func statOf(pid int) (procfs.ProcStat, error) {
	proc, err := procfs.NewProc(pid)
	if err != nil {
		return procfs.ProcStat{}, err
	}
	return proc.Stat()
}

// Resident is the memory of a process, in MiB.
func (p *Process) Resident() (float64, error) {
	stat, err := p.stat()
	return float64(stat.ResidentMemory()) / (1 << 20), err
}

// treeTime is the processor time of a process and its children. That of a child that ends meanwhile is its parent's.
func treeTime(pid int) (time.Duration, error) {
	all, err := procfs.AllProcs()
	if err != nil {
		return 0, err
	}
	var ticks uint
	for _, one := range all {
		stat, err := one.Stat()
		if err != nil {
			continue // it has just ended
		}
		if one.PID == pid {
			ticks += uint(stat.CUTime + stat.CSTime)
		}
		if one.PID == pid || stat.PPID == pid {
			ticks += stat.UTime + stat.STime
		}
	}
	return time.Duration(ticks) * tick, nil
}

// tick is the unit of times in /proc: USER_HZ, which is 100 on every Linux that Go runs on.
const tick = 10 * time.Millisecond
