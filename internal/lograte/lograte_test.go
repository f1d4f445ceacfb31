package lograte_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/internal/lograte"
)

// book is where a test's lines go.
type book struct {
	*slog.Logger
	handler *lograte.Handler
	mu      sync.Mutex
	text    bytes.Buffer
}

func (b *book) Write(line []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(line)
}

func newBook() *book {
	b := &book{}
	b.handler = lograte.New(slog.NewJSONHandler(b, nil), time.Second)
	b.Logger = slog.New(b.handler)
	return b
}

type line struct {
	Msg, Code, Sink, Error string
	N, Count               int
}

func (b *book) lines(t *testing.T) []line {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	var all []line
	decoder := json.NewDecoder(bytes.NewReader(b.text.Bytes()))
	for {
		var one line
		err := decoder.Decode(&one)
		if errors.Is(err, io.EOF) {
			return all
		}
		require.NoError(t, err)
		all = append(all, one)
	}
}

// stoodFor is how many records the lines stand for.
func stoodFor(lines []line) int {
	sum := 0
	for _, l := range lines {
		sum += max(1, l.Count)
	}
	return sum
}

func TestThousandErrorsOfASecondAreAFewLinesWithTheirCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBook()
		for n := range 1000 {
			b.Warn("review", "code", "record_failed", "n", n)
			time.Sleep(time.Millisecond)
		}
		time.Sleep(time.Second)
		b.handler.Close()

		lines := b.lines(t)
		require.Len(t, lines, 2)
		require.Equal(t, line{Msg: "review", Code: "record_failed"}, lines[0])
		require.Equal(t, line{Msg: "review", Code: "record_failed", N: 999, Count: 999}, lines[1])
	})
}

func TestErrorsThatGoOnAreALineASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBook()
		for n := range 10_000 {
			b.Error("review", "n", n)
			time.Sleep(time.Millisecond)
		}
		b.handler.Close()
		require.InDelta(t, 11, len(b.lines(t)), 1)
		require.Equal(t, 10_000, stoodFor(b.lines(t)))
	})
}

func TestErrorsOfOtherKindsAreNotHeldBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBook()
		defer b.handler.Close()
		b.Warn("review", "code", "record_failed", "error", "one")
		b.Warn("review", "code", "facts_unavailable")
		b.Error("review", "code", "record_failed")
		b.Warn("delivery", "code", "record_failed")
		b.With("sink", "ops").Warn("delivery")
		b.With("sink", "bus").Warn("delivery")
		require.Len(t, b.lines(t), 6)
		b.Warn("review", "code", "record_failed", "error", "another text of the same kind")
		require.Len(t, b.lines(t), 6)
	})
}

func TestLinesThatAreNoErrorsAreWrittenEachTime(t *testing.T) {
	b := newBook()
	defer b.handler.Close()
	for range 100 {
		b.Info("review", "decision", "deny")
	}
	require.Len(t, b.lines(t), 100)
}

func TestRareErrorIsWrittenEachTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBook()
		defer b.handler.Close()
		for n := range 5 {
			b.Warn("review", "n", n)
			require.Len(t, b.lines(t), n+1)
			time.Sleep(1100 * time.Millisecond)
		}
	})
}

func TestUploadLosesNothingWhenTheProcessEnds(t *testing.T) {
	b := newBook()
	var writing sync.WaitGroup
	for range 8 {
		writing.Go(func() {
			for range 1000 {
				b.Warn("review", "code", "record_failed")
			}
		})
	}
	writing.Wait()
	b.handler.Close()
	require.Equal(t, 8000, stoodFor(b.lines(t)))
	require.Less(t, len(b.lines(t)), 100)
	b.Warn("review", "code", "record_failed")
	b.Warn("review", "code", "record_failed")
	require.Equal(t, 8002, stoodFor(b.lines(t)), "what comes afterwards is written at once")
}
