package testenv

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
)

const (
	scratchPattern = "gatehouse-test-*"
	ownerLock      = "owner.lock"
	dataFolder     = "data"
)

// scratch is the temporary folder of one server: its data, its log, and a lock
// that is held while the process that made the folder lives.
type scratch struct {
	path string
	lock *os.File
	// account runs the server: PostgreSQL refuses to run as root. It is nil when
	// the tests' own account will do.
	account *syscall.Credential
}

func newScratch() (*scratch, error) {
	account, err := serverAccount()
	if err != nil {
		return nil, err
	}
	parent := scratchParent(account != nil)
	sweepScratch(parent)
	return newScratchIn(parent, account)
}

func newScratchIn(parent string, account *syscall.Credential) (*scratch, error) {
	path, err := os.MkdirTemp(parent, scratchPattern)
	if err != nil {
		return nil, fmt.Errorf("making a temporary folder: %w", err)
	}
	s := &scratch{path: path, account: account}
	err = s.prepare()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("preparing the temporary folder: %w", err), s.remove())
	}
	return s, nil
}

func (s *scratch) prepare() error {
	if s.account != nil {
		err := os.Chmod(s.path, 0o711)
		if err != nil {
			return err
		}
	}
	// The lock gets its name once it is held, so that a sweep by another process
	// never finds it free.
	unnamed := s.file("new.lock")
	lock, err := os.OpenFile(unnamed, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	s.lock = lock
	err = tryLock(lock)
	if err != nil {
		return err
	}
	err = os.Rename(unnamed, s.file(ownerLock))
	if err != nil {
		return err
	}
	err = os.Mkdir(s.file(dataFolder), 0o700)
	if err != nil {
		return err
	}
	return s.give(dataFolder)
}

func (s *scratch) file(name string) string { return filepath.Join(s.path, name) }

// give hands a file to the account that runs the server.
func (s *scratch) give(name string) error {
	if s.account == nil {
		return nil
	}
	return os.Chown(s.file(name), int(s.account.Uid), int(s.account.Gid))
}

// remove may be called again.
func (s *scratch) remove() error {
	err := os.RemoveAll(s.path)
	if s.lock == nil {
		return err
	}
	err = errors.Join(err, s.lock.Close())
	s.lock = nil
	return err
}

// serverAccount is nil unless the tests run as root.
func serverAccount() (*syscall.Credential, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	account, err := user.Lookup("postgres")
	if err != nil {
		account, err = user.Lookup("nobody")
	}
	if err != nil {
		return nil, fmt.Errorf("finding an account for the servers, which refuse to run as root: %w", err)
	}
	uid, err := strconv.ParseUint(account.Uid, 10, 32)
	if err != nil {
		return nil, fmt.Errorf("reading the user id of %s: %w", account.Username, err)
	}
	gid, err := strconv.ParseUint(account.Gid, 10, 32)
	if err != nil {
		return nil, fmt.Errorf("reading the group id of %s: %w", account.Username, err)
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
}

// scratchParent is the usual temporary folder, or /tmp where another account
// could not reach into the usual one (root's TMPDIR may be private).
func scratchParent(otherAccount bool) string {
	parent := os.TempDir()
	if !otherAccount {
		return parent
	}
	for folder := filepath.Clean(parent); ; folder = filepath.Dir(folder) {
		info, err := os.Stat(folder)
		if err != nil || info.Mode().Perm()&0o001 == 0 {
			return "/tmp"
		}
		if folder == filepath.Dir(folder) {
			return parent
		}
	}
}

// sweepScratch removes what killed test binaries of the same user left behind.
// It is a courtesy: what it cannot remove stays for the next one.
func sweepScratch(parent string) {
	left, _ := filepath.Glob(filepath.Join(parent, scratchPattern))
	for _, path := range left {
		info, err := os.Lstat(path)
		if err != nil || !info.IsDir() {
			continue
		}
		stat, ok := info.Sys().(*syscall.Stat_t)
		if !ok || int(stat.Uid) != os.Geteuid() {
			continue
		}
		sweepOne(path)
	}
}

func sweepOne(path string) {
	lock, err := os.Open(filepath.Join(path, ownerLock))
	if err != nil {
		return
	}
	defer func() { _ = lock.Close() }()
	if tryLock(lock) != nil {
		return
	}
	// The data goes first: a server that is still ending may write into it, and
	// then the lock file must stay for the next sweep.
	if os.RemoveAll(filepath.Join(path, dataFolder)) == nil {
		_ = os.RemoveAll(path)
	}
}
