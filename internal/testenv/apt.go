package testenv

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// apt installs Debian packages. Its fields are what a test replaces.
type apt struct {
	run func(ctx context.Context, args ...string) error
	log io.Writer
	// lockPath is locked while apt-get runs: test binaries of several packages
	// run at once, and apt's own option to wait does not cover its package lists.
	lockPath string
	// clusterConfig tells Debian's PostgreSQL packages whether to create a
	// cluster of their own.
	clusterConfig string
}

// systemInstall is nil where packages cannot be installed without asking
// somebody: no root, or no apt-get.
func systemInstall() func(context.Context, string, func() bool) error {
	if os.Geteuid() != 0 {
		return nil
	}
	program, err := exec.LookPath("apt-get")
	if err != nil {
		return nil
	}
	installer := apt{
		run:           aptGet(program),
		log:           os.Stderr,
		lockPath:      "/var/cache/apt",
		clusterConfig: "/etc/postgresql-common/createcluster.conf",
	}
	return installer.install
}

func aptGet(program string) func(ctx context.Context, args ...string) error {
	return func(ctx context.Context, args ...string) error {
		cmd := exec.CommandContext(ctx, program, args...)
		cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive", "UCF_FORCE_CONFFOLD=1")
		cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
		// A killed apt-get leaves half-configured packages; an interrupted one
		// finishes its step.
		cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
		cmd.WaitDelay = time.Minute
		return cmd.Run()
	}
}

func (a apt) install(ctx context.Context, debian string, present func() bool) (err error) {
	lock, err := os.Open(a.lockPath)
	if err != nil {
		return fmt.Errorf("opening the lock of installations: %w", err)
	}
	defer func() { err = errors.Join(err, lock.Close()) }() // which unlocks
	err = syscall.Flock(int(lock.Fd()), syscall.LOCK_EX)
	if err != nil {
		return fmt.Errorf("waiting for another installation: %w", err)
	}
	if present() {
		return nil
	}
	err = a.declineCluster()
	if err != nil {
		return err
	}
	arguments := []string{"-o", "DPkg::Lock::Timeout=300", "install", "-y", "--no-install-recommends", debian}
	fmt.Fprintf(a.log, "testenv: the tests need Debian's package %s; installing it\n", debian)
	err = a.run(ctx, arguments...)
	if err == nil {
		return nil
	}
	// A fresh container has no package lists, an old one has stale ones.
	fmt.Fprintln(a.log, "testenv: that did not work; fetching the package lists and trying again")
	err = a.run(ctx, "update")
	if err != nil {
		return fmt.Errorf("running apt-get update: %w", err)
	}
	err = a.run(ctx, arguments...)
	if err != nil {
		return fmt.Errorf("running apt-get install %s: %w", debian, err)
	}
	return nil
}

// declineCluster keeps Debian from creating and starting a PostgreSQL cluster
// for us. Somebody's own choice in that file stays.
func (a apt) declineCluster() error {
	err := os.MkdirAll(filepath.Dir(a.clusterConfig), 0o755)
	if err != nil {
		return fmt.Errorf("declining Debian's own cluster: %w", err)
	}
	file, err := os.OpenFile(a.clusterConfig, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("declining Debian's own cluster: %w", err)
	}
	_, err = file.WriteString("create_main_cluster = false\n")
	err = errors.Join(err, file.Close())
	if err != nil {
		return fmt.Errorf("declining Debian's own cluster: %w", err)
	}
	return nil
}
