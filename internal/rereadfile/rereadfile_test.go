package rereadfile_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/internal/rereadfile"
)

// heard keeps what is reported.
type heard struct {
	mu    sync.Mutex
	lines []string
}

func (h *heard) say(line string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.lines = append(h.lines, line)
}

func (h *heard) Watched(setting string) { h.say("watched " + setting) }
func (h *heard) Reread(setting string)  { h.say("reread " + setting) }
func (h *heard) RereadFailed(setting string, err error) {
	h.say(fmt.Sprintf("failed %s: %v", setting, err))
}

func write(t *testing.T, path, text string) {
	t.Helper()
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
}

// age makes a file look as if it had not been changed for long.
func age(t *testing.T, path string) {
	t.Helper()
	then := time.Now().Add(-time.Hour)
	require.NoError(t, os.Chtimes(path, then, then))
}

// A changed file is in use at once, however it was changed, and told once.
func TestRereadFileReadsAChangedFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "token")
	write(t, path, "one\n")
	report := &heard{}
	file, err := rereadfile.OpenText("token", report, path)
	require.NoError(t, err)
	require.Equal(t, "one", file.Get())

	// As large as before, and within the time that the system tells changes apart by.
	info, err := os.Stat(path)
	require.NoError(t, err)
	write(t, path, "two\n")
	require.NoError(t, os.Chtimes(path, info.ModTime(), info.ModTime()))
	require.Equal(t, "two", file.Get())

	age(t, path)
	require.Equal(t, "two", file.Get(), "another time alone is no change")
	write(t, path+".new", "three")
	require.NoError(t, os.Rename(path+".new", path))
	require.Equal(t, "three", file.Get())
	require.Equal(t, []string{"watched token", "reread token", "reread token"}, report.lines)
}

// A mounted secret of Kubernetes is a link into a folder that is a link, which is swapped.
func TestRereadFileSeesASwappedLink(t *testing.T) {
	folder := t.TempDir()
	for name, text := range map[string]string{"..1": "one", "..2": "two"} {
		require.NoError(t, os.Mkdir(filepath.Join(folder, name), 0o700))
		write(t, filepath.Join(folder, name, "token"), text)
		age(t, filepath.Join(folder, name, "token"))
	}
	require.NoError(t, os.Symlink("..1", filepath.Join(folder, "..data")))
	require.NoError(t, os.Symlink("..data/token", filepath.Join(folder, "token")))
	file, err := rereadfile.OpenText("token", nil, filepath.Join(folder, "token"))
	require.NoError(t, err)
	require.Equal(t, "one", file.Get())

	require.NoError(t, os.Symlink("..2", filepath.Join(folder, "..data_tmp")))
	require.NoError(t, os.Rename(filepath.Join(folder, "..data_tmp"), filepath.Join(folder, "..data")))
	require.NoError(t, os.RemoveAll(filepath.Join(folder, "..1")))
	require.Equal(t, "two", file.Get())
}

// What is empty, half written or gone never empties a setting: what was good stays, and each cause is told once.
func TestRereadFileKeepsTheLastGoodValue(t *testing.T) {
	path := filepath.Join(t.TempDir(), "token")
	write(t, path, "<good>")
	report := &heard{}
	file, err := rereadfile.Open("token", report, func(contents [][]byte) (string, error) {
		text, err := rereadfile.Text(contents[0])
		if err == nil && !strings.HasSuffix(text, ">") {
			err = errors.New("it has no end")
		}
		return text, err
	}, path)
	require.NoError(t, err)
	for range 2 {
		for _, bad := range []string{"", " \n", "<half"} {
			write(t, path, bad)
			require.Equal(t, "<good>", file.Get())
			require.Equal(t, "<good>", file.Get())
		}
	}
	require.NoError(t, os.Remove(path))
	require.Equal(t, "<good>", file.Get())
	require.Equal(t, "<good>", file.Get())

	write(t, path, "<better>")
	value, changed := file.Look()
	require.Equal(t, "<better>", value)
	require.True(t, changed)
	_, changed = file.Look()
	require.False(t, changed)
	require.Equal(t, []string{
		"watched token",
		"failed token: the file is empty", "failed token: it has no end",
		"failed token: the file is empty", "failed token: it has no end",
		"failed token: stat " + path + ": no such file or directory", "reread token",
	}, report.lines)
}

// What is bad at the start is an error, as there is no value to keep.
func TestRereadFileRefusesABadFileAtTheStart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "token")
	_, err := rereadfile.OpenText("token", nil, path)
	require.ErrorIs(t, err, os.ErrNotExist)
	write(t, path, "\n")
	_, err = rereadfile.OpenText("token", nil, path)
	require.EqualError(t, err, path+": the file is empty")
}

// Files that belong together, such as a certificate and its key, change together: half of a pair is not used.
func TestFilesThatBelongTogetherChangeTogether(t *testing.T) {
	folder := t.TempDir()
	certificate, key := filepath.Join(folder, "tls.crt"), filepath.Join(folder, "tls.key")
	write(t, certificate, "1")
	write(t, key, "1")
	file, err := rereadfile.Open("pair", nil, func(contents [][]byte) (string, error) {
		if string(contents[0]) != string(contents[1]) {
			return "", errors.New("they are no pair")
		}
		return string(contents[0]), nil
	}, certificate, key)
	require.NoError(t, err)
	write(t, certificate, "2")
	require.Equal(t, "1", file.Get())
	write(t, key, "2")
	require.Equal(t, "2", file.Get())
}

// A pipe, as a shell makes one for <(command), gives its content once.
func TestRereadFileReadsAPipeOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pipe")
	require.NoError(t, syscall.Mkfifo(path, 0o600))
	go func() { _ = os.WriteFile(path, []byte("secret"), 0o600) }()
	file, err := rereadfile.OpenText("token", nil, path)
	require.NoError(t, err)
	for range 3 {
		require.Equal(t, "secret", file.Get())
	}
}

// Without files there is one value for ever.
func TestRereadFileWithoutFilesHasOneValue(t *testing.T) {
	report := &heard{}
	file, err := rereadfile.Open("x", report, func(contents [][]byte) (int, error) { return 7 + len(contents), nil })
	require.NoError(t, err)
	require.Equal(t, 7, file.Get())
	require.Empty(t, report.lines)
}

// Readers never see anything but whole values while the file is replaced.
func TestConcurrentReadersSeeWholeValues(t *testing.T) {
	path := filepath.Join(t.TempDir(), "token")
	write(t, path, "0000")
	file, err := rereadfile.OpenText("token", nil, path)
	require.NoError(t, err)
	var readers sync.WaitGroup
	done := make(chan struct{})
	for range 4 {
		readers.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				value := file.Get()
				if strings.Trim(value, value[:1]) != "" {
					t.Errorf("a mixed value: %s", value)
					return
				}
			}
		})
	}
	for i := range 200 {
		write(t, path+".new", strings.Repeat(string(rune('a'+i%26)), 4))
		require.NoError(t, os.Rename(path+".new", path))
	}
	close(done)
	readers.Wait()
}

// What a file becomes is handed over once, and what is refused is not.
func TestFollowHandsOverWhatAFileBecomes(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	write(t, path, "first")
	file, err := rereadfile.OpenText("setting", nil, path)
	require.NoError(t, err)
	ctx, stop := context.WithCancel(t.Context())
	heard, ended := make(chan string), make(chan struct{})
	go func() {
		defer close(ended)
		file.Follow(ctx, time.Millisecond, func(text string) { heard <- text })
	}()
	write(t, path, "second")
	require.Equal(t, "second", <-heard)
	stop()
	<-ended
}
