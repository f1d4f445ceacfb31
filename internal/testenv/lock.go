package testenv

import (
	"context"
	"errors"
	"os"
	"syscall"
	"time"
)

// lockFile waits for the lock on a file or folder that exists. The kernel frees
// the lock when the process ends, however it ends.
func lockFile(ctx context.Context, path string) (unlock func() error, err error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	ticker := time.NewTicker(100 * time.Millisecond)
	defer ticker.Stop()
	for {
		err := tryLock(file)
		if err == nil {
			return file.Close, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, errors.Join(err, file.Close())
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(ctx.Err(), file.Close())
		case <-ticker.C:
		}
	}
}

// tryLock returns EWOULDBLOCK when another holds the lock.
func tryLock(file *os.File) error {
	for {
		err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if !errors.Is(err, syscall.EINTR) {
			return err
		}
	}
}
