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

const dataFolder = "data"

// scratch is the temporary folder of one server: its data and its log.
type scratch struct {
	path string
	// account runs the server: PostgreSQL refuses to run as root. It is nil when
	// the tests' own account will do.
	account *syscall.Credential
}

func newScratch() (*scratch, error) {
	account, err := serverAccount()
	if err != nil {
		return nil, err
	}
	return newScratchIn(scratchParent(account != nil), account)
}

func newScratchIn(parent string, account *syscall.Credential) (*scratch, error) {
	path, err := os.MkdirTemp(parent, "gatehouse-test-*")
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
	err := os.Mkdir(s.file(dataFolder), 0o700)
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
func (s *scratch) remove() error { return os.RemoveAll(s.path) }

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
