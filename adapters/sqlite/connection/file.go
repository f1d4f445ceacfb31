package connection

import (
	"errors"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

var (
	errNoPath = errors.New("a path is required")
	errMemory = errors.New("a database in memory is not supported: each connection would have one of its own, " +
		"and nothing that was answered would survive the process")
)

// prepareFile gives the absolute path of a file that exists.
func prepareFile(path string) (string, error) {
	if path == "" {
		return "", errNoPath
	}
	if strings.Contains(path, ":memory:") || strings.Contains(path, "mode=memory") {
		return "", errMemory
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	err = os.MkdirAll(filepath.Dir(path), 0o700)
	if err != nil {
		return "", err
	}
	return path, createFile(path)
}

// createFile makes an empty file, which is an empty database, with the rights that SQLite then gives to the
// files beside it too. A file that exists is not opened: POSIX drops the locks that a process has on a file
// when the process closes any descriptor of it, and another Store may have it open.
func createFile(path string) error {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return file.Close()
}

// writerDSN begins every transaction as a writing one: one that reads first and then writes could not wait
// for another process, it would fail.
//
// Commits write the same pages again and again, and a checkpoint copies each of them once: one for every 2,000 pages in
// the WAL (8 MB) instead of 1,000 makes a decision cheaper, and one for every 4,000 has more callers wait for longer.
// The cache (8 MB) holds the upper pages of the indexes of ten million decisions.
func writerDSN(path string, busy time.Duration) string {
	return dsn(path, busy, url.Values{
		"_journal_mode": {"WAL"},
		"_synchronous":  {"FULL"},
		"_foreign_keys": {"on"},
		"_txlock":       {"immediate"},
		"_pragma":       {"wal_autocheckpoint(2000)", "cache_size(-8000)"},
	})
}

func readerDSN(path string, busy time.Duration) string {
	return dsn(path, busy, url.Values{"mode": {"ro"}})
}

func dsn(path string, busy time.Duration, parameters url.Values) string {
	parameters.Set("_busy_timeout", strconv.FormatInt(busy.Milliseconds(), 10))
	// Without this, SQLite reads a misspelt column in double quotes as a text, and a facts query of an
	// operator would give wrong facts instead of an error.
	parameters.Set("_dqs", "false")
	parameters.Set("_defensive", "true")
	// A + is a space to Go and a plus to SQLite.
	query := strings.ReplaceAll(parameters.Encode(), "+", "%20")
	file := url.URL{Scheme: "file", Path: filepath.ToSlash(path), RawQuery: query}
	return file.String()
}
