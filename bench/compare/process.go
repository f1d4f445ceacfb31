//go:build linux

package main

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

// process is a server that is measured.
type process struct {
	name    string
	address string
	admin   string // where its profiles are; "" for nowhere
	command *exec.Cmd
	log     string
	ended   chan error
}

// startServer runs a program that serves address and waits until path answers 200. What it prints goes into a file.
func startServer(ctx context.Context, folder, name, address, path string, arguments ...string) (*process, error) {
	p := &process{name: name, address: address, log: filepath.Join(folder, name+".log"), ended: make(chan error, 1)}
	log, err := os.Create(p.log)
	if err != nil {
		return nil, err
	}
	defer func() { _ = log.Close() }() // the process has its own
	p.command = exec.Command(arguments[0], arguments[1:]...)
	p.command.Stdout, p.command.Stderr, p.command.Dir = log, log, folder
	p.command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	err = p.command.Start()
	if err != nil {
		return nil, fmt.Errorf("starting %s: %w", name, err)
	}
	go func() { p.ended <- p.command.Wait() }()
	err = p.waitReady(ctx, path)
	if err != nil {
		return nil, errors.Join(err, p.stop())
	}
	return p, nil
}

// startPatience is for a server that starts while the machine is busy.
const startPatience = 30 * time.Second

func (p *process) waitReady(ctx context.Context, path string) error {
	ctx, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	for {
		if serves(ctx, "http://"+p.address+path) {
			return nil
		}
		select {
		case err := <-p.ended:
			p.ended <- err
			said, _ := os.ReadFile(p.log)
			return fmt.Errorf("%s ended while it started: %w: %s", p.name, err, lastLines(said))
		case <-ctx.Done():
			return fmt.Errorf("%s did not become ready: %w", p.name, ctx.Err())
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

// stop may be called again.
func (p *process) stop() error {
	_ = p.command.Process.Signal(syscall.SIGTERM) // it may have ended
	select {
	case err := <-p.ended:
		p.ended <- err
		if err != nil {
			return fmt.Errorf("%s did not stop well: %w", p.name, err)
		}
		return nil
	case <-time.After(startPatience):
		return errors.Join(fmt.Errorf("%s did not stop when it was told to", p.name), p.command.Process.Kill())
	}
}

// freeAddress is a port of this machine that nobody has now.
func freeAddress(ctx context.Context) (string, error) {
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return listener.Addr().String(), listener.Close()
}

// tick is the unit of times in /proc: USER_HZ, which is 100 on every Linux that Go runs on.
const tick = 10 * time.Millisecond

// cpuTime is what a process has used, without its children that live.
func cpuTime(pid int) (time.Duration, error) {
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

// treeTime is what a process and its children have used. One that ends meanwhile is counted by its parent.
func treeTime(pid int) (time.Duration, error) {
	total, err := cpuTime(pid)
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
		used, err := cpuTime(child)
		if err == nil {
			total += used
		}
	}
	return total, nil
}

// parentOf is the process that started another.
func parentOf(pid int) (int, error) {
	fields, err := statFields(pid)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(fields[1])
}

// resident is the memory of a process, in MiB.
func resident(pid int) (float64, error) {
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
