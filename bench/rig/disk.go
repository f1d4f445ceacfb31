//go:build linux

package rig

import (
	"errors"
	"os"
	"path/filepath"
	"time"
)

// SyncTime is how long this machine takes to make 8 kB durable: what every commit costs at least.
func SyncTime(folder string) (took time.Duration, err error) {
	const times, block = 100, 8 << 10
	file, err := os.Create(filepath.Join(folder, "sync"))
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	text := make([]byte, block)
	all := make([]float64, times)
	for i := range all {
		began := time.Now()
		_, err = file.WriteAt(text, int64(i*block))
		if err == nil {
			err = file.Sync()
		}
		if err != nil {
			return 0, err
		}
		all[i] = float64(time.Since(began))
	}
	return time.Duration(Median(all)), nil
}
