//go:build linux

package rig

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
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

// StartServer runs a program that serves address and waits until path answers 200. What it prints goes into a file.
func StartServer(ctx context.Context, folder, name, address, path string, arguments ...string) (*Process, error) {
	p := &Process{Name: name, Address: address, log: filepath.Join(folder, name+".log"), ended: make(chan error, 1)}
	log, err := os.Create(p.log)
	if err != nil {
		return nil, err
	}
	defer func() { _ = log.Close() }() // the process has its own
	p.command = exec.Command(arguments[0], arguments[1:]...)
	p.command.Stdout, p.command.Stderr, p.command.Dir = log, log, folder
	// Not SIGKILL, which would leave the workers of one that has some.
	p.command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
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

// startPatience is for a server that starts while the machine is busy.
const startPatience = 30 * time.Second

func (p *Process) waitReady(ctx context.Context, path string) error {
	ctx, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	for {
		if serves(ctx, "http://"+p.Address+path) {
			return nil
		}
		select {
		case err := <-p.ended:
			p.ended <- err
			said, _ := os.ReadFile(p.log)
			return fmt.Errorf("%s ended while it started: %w: %s", p.Name, err, lastLines(said))
		case <-ctx.Done():
			return fmt.Errorf("%s did not become ready: %w", p.Name, ctx.Err())
		case <-time.After(time.Millisecond):
		}
	}
}

func serves(ctx context.Context, url string) bool {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return false
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return false
	}
	_ = response.Body.Close()
	return response.StatusCode == http.StatusOK
}

func lastLines(text []byte) []byte {
	const most = 2000
	return text[max(len(text)-most, 0):]
}

// PID is of the process itself, not of children.
func (p *Process) PID() int { return p.command.Process.Pid }

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
	case <-time.After(startPatience):
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

// tick is the unit of times in /proc: USER_HZ, which is 100 on every Linux that Go runs on.
const tick = 10 * time.Millisecond

// CPUTime is what a process has used, without its children that live.
func CPUTime(pid int) (time.Duration, error) {
	fields, err := statFields(pid)
	if err != nil {
		return 0, err
	}
	var total int64
	for _, at := range []int{11, 12, 13, 14} { // user, system, and those of children that have ended
		n, err := strconv.ParseInt(fields[at], 10, 64)
		if err != nil {
			return 0, err
		}
		total += n
	}
	return time.Duration(total) * tick, nil
}

// statFields are the fields of /proc/PID/stat that come after the program's name, which may hold spaces.
func statFields(pid int) ([]string, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return nil, err
	}
	end := bytes.LastIndexByte(text, ')')
	fields := strings.Fields(string(text[end+1:]))
	if len(fields) < 15 {
		return nil, fmt.Errorf("/proc/%d/stat has %d fields", pid, len(fields))
	}
	return fields, nil
}

// TreeTime is what a process and its children have used. One that ends meanwhile is counted by its parent.
func TreeTime(pid int) (time.Duration, error) {
	total, err := CPUTime(pid)
	if err != nil {
		return 0, err
	}
	all, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return 0, err
	}
	for _, folder := range all {
		child, err := strconv.Atoi(filepath.Base(folder))
		if err != nil {
			continue
		}
		fields, err := statFields(child)
		if err != nil || fields[1] != strconv.Itoa(pid) {
			continue
		}
		used, err := CPUTime(child)
		if err == nil {
			total += used
		}
	}
	return total, nil
}

// ParentOf is the process that started another.
func ParentOf(pid int) (int, error) {
	fields, err := statFields(pid)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(fields[1])
}

// Resident is the memory of a process, in MiB.
func Resident(pid int) (float64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		var kilobytes float64
		_, err := fmt.Sscanf(line, "VmRSS: %f kB", &kilobytes)
		if err == nil {
			return kilobytes / 1024, nil
		}
	}
	return 0, fmt.Errorf("/proc/%d/status has no VmRSS", pid)
}
