package decisionlog_test

import (
	"bytes"
	"context"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/adapters/decisionlog"
	"github.com/molecule-ai/gatehouse/adapters/postgres"
	"github.com/molecule-ai/gatehouse/adapters/postgres/postgrestest"
	"github.com/molecule-ai/gatehouse/adapters/sqlite"
	"github.com/molecule-ai/gatehouse/internal/testenv"
	"github.com/molecule-ai/gatehouse/server/admission"
	"github.com/molecule-ai/gatehouse/server/stream"
)

const (
	// patience is how long a test waits for what must happen; only a test that fails spends it.
	patience = time.Minute
	tick     = 5 * time.Millisecond
)

// store is what an uploader and a server need of one.
type store interface {
	stream.DecisionStore
	decisionlog.Positions
	Record(ctx context.Context, d admission.Decision) (admission.Decision, error)
}

// eachStore runs a test on both stores. open gives another replica's store on the same database.
func eachStore(t *testing.T, test func(t *testing.T, open func() store)) {
	t.Helper()
	t.Run("sqlite", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "gatehouse.db")
		test(t, func() store { return openSQLite(t, path) })
	})
	t.Run("postgres", func(t *testing.T) {
		url := testenv.DatabaseURL(t, testenv.RegistryCurrent)
		test(t, func() store { return openPostgres(t, postgres.Options{URL: url, MaxConns: 8}) })
	})
}

func openSQLite(t *testing.T, path string) *sqlite.Store {
	t.Helper()
	s, err := sqlite.Open(t.Context(), sqlite.Options{Path: path, BusyTimeout: patience})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	require.NoError(t, s.Migrate(t.Context()))
	return s
}

func openPostgres(t *testing.T, options postgres.Options) *postgres.Store {
	t.Helper()
	s, err := postgres.Open(t.Context(), options)
	require.NoError(t, err)
	t.Cleanup(s.Close)
	require.NoError(t, s.Migrate(t.Context()))
	return s
}

// replica uploads from a store until it is stopped.
type replica struct {
	stop    func()
	results chan decisionlog.UploadResult
	log     *bytes.Buffer // to be read once it is stopped
}

func uploading(t *testing.T, s store, c *collector, change ...func(*decisionlog.UploadOptions)) *replica {
	t.Helper()
	r := &replica{results: make(chan decisionlog.UploadResult, 10000), log: &bytes.Buffer{}}
	options := decisionlog.UploadOptions{
		URL: c.URL + "/base", Token: func() string { return c.token }, Labels: map[string]string{"app": "gatehouse"},
		Logger: slog.New(slog.NewTextHandler(r.log, nil)), Observe: func(result decisionlog.UploadResult) { r.results <- result },
		Linger: tick, Retry: time.Millisecond, Standby: tick,
	}
	for _, c := range change {
		c(&options)
	}
	hub := stream.NewOnDemand(stream.Decisions(s), stream.Options{Of: "decisions", Poll: tick}, time.Minute)
	uploader := decisionlog.NewUploader(hub, s, options)
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { uploader.Run(ctx) })
	r.stop = sync.OnceFunc(func() {
		cancel()
		running.Wait()
		hub.Close()
	})
	t.Cleanup(r.stop)
	return r
}

// counts are the results of a replica that was stopped.
func (r *replica) counts() map[decisionlog.UploadResult]int {
	close(r.results)
	counts := make(map[decisionlog.UploadResult]int)
	for result := range r.results {
		counts[result]++
	}
	return counts
}

// record records n decisions and gives their ids.
func record(t *testing.T, s store, n int) []string {
	t.Helper()
	var ids []string
	for range n {
		d := allowed(t)
		d.UID, d.WorkspaceID = "", uuid.New()
		recorded, err := s.Record(t.Context(), d)
		require.NoError(t, err)
		ids = append(ids, recorded.ID.String())
	}
	return ids
}

func (c *collector) requireAll(t *testing.T, ids []string) {
	t.Helper()
	require.Eventually(t, func() bool { return c.has(ids) }, patience, tick)
	require.Empty(t, c.mistakes())
}

func TestEveryDecisionArrivesWhateverTheCollectorSays(t *testing.T) {
	eachStore(t, func(t *testing.T, open func() store) {
		c := newCollector(t)
		var inARow atomic.Int32
		c.answers(func(u upload) int {
			if len(u.ids) > 7 {
				return http.StatusRequestEntityTooLarge
			}
			// The pause doubles with each failure, so a long row of them would outlast the test.
			said := []int{200, 200, 200, 204, 500, 503, 429, 408, 401, 302, 0}[rand.N(11)]
			switch {
			case said/100 == 2:
				inARow.Store(0)
			case inARow.Add(1) == 8:
				inARow.Store(0)
				said = http.StatusOK
			}
			return said
		})
		writer := open()
		before := record(t, writer, 50)
		var mu sync.Mutex
		all := slices.Clone(before)
		var writing sync.WaitGroup
		for range 4 {
			writing.Go(func() {
				for range 50 {
					d := allowed(t)
					d.UID = ""
					recorded, err := writer.Record(t.Context(), d)
					if err != nil {
						t.Error(err)
						return
					}
					mu.Lock()
					all = append(all, recorded.ID.String())
					mu.Unlock()
				}
			})
		}
		for range 4 { // processes that end in the middle
			uploads := len(c.seen())
			r := uploading(t, open(), c)
			require.Eventually(t, func() bool { return len(c.seen()) > uploads+5 }, patience, tick)
			r.stop()
		}
		uploading(t, open(), c)
		writing.Wait()

		c.requireAll(t, all)
	})
}

func TestUploadSendsNothingTwice(t *testing.T) {
	eachStore(t, func(t *testing.T, open func() store) {
		c := newCollector(t)
		s := open()
		first := record(t, s, 30)
		r := uploading(t, s, c)
		c.requireAll(t, first)
		require.Eventually(t, func() bool {
			shipped, err := s.ShippedSeq(t.Context(), c.URL+"/base")
			last, lastErr := s.LastDecisionSeq(t.Context())
			return err == nil && lastErr == nil && shipped == last
		}, patience, tick)
		r.stop()
		second := record(t, s, 30)

		uploading(t, open(), c)

		c.requireAll(t, second)
		require.Equal(t, slices.Concat(first, second), c.order, "once, and in order where they were written in order")
	})
}

func TestUploadIsNoLargerThanTheCollectorTakes(t *testing.T) {
	eachStore(t, func(t *testing.T, open func() store) {
		c := newCollector(t)
		s := open()
		ids := record(t, s, 200)
		large := allowed(t)
		large.UID, large.Input = "", []byte(`{"random": "`+randomText(20000)+`"}`)
		_, err := s.Record(t.Context(), large)
		require.NoError(t, err)
		ids = append(append(ids, large.ID.String()), record(t, s, 50)...)

		uploading(t, s, c, func(o *decisionlog.UploadOptions) { o.MaxBytes = 4000 })

		c.requireAll(t, ids)
		for _, u := range c.seen() {
			if u.bytes > 4000 {
				require.Equal(t, []string{large.ID.String()}, u.ids, "what is larger goes alone")
			}
		}
		require.Less(t, len(c.seen()), 40, "and not each for itself")
	})
}

// randomText does not compress to less than three quarters.
func randomText(n int) string {
	text := make([]byte, n)
	for i := range text {
		text[i] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"[rand.N(64)]
	}
	return string(text)
}

func TestUploadSkipsAnEventThatTheCollectorRefuses(t *testing.T) {
	eachStore(t, func(t *testing.T, open func() store) {
		c := newCollector(t)
		s := open()
		ids := record(t, s, 40)
		poison := ids[17]
		c.answers(func(u upload) int {
			if slices.Contains(u.ids, poison) {
				return http.StatusBadRequest
			}
			return http.StatusOK
		})
		r := uploading(t, s, c)

		c.requireAll(t, slices.Delete(slices.Clone(ids), 17, 18))
		require.False(t, c.has([]string{poison}))
		r.stop()
		require.Equal(t, 1, r.counts()[decisionlog.Refused])
		require.Contains(t, r.log.String(), "decision_id="+poison)
		require.NotContains(t, r.log.String(), c.token)
	})
}

func TestUploadWithAWrongTokenLosesNothing(t *testing.T) {
	eachStore(t, func(t *testing.T, open func() store) {
		c := newCollector(t)
		c.answers(func(upload) int { return http.StatusUnauthorized })
		s := open()
		ids := record(t, s, 1)
		r := uploading(t, s, c, func(o *decisionlog.UploadOptions) { o.Retry = time.Microsecond })
		require.Eventually(t, func() bool { return len(c.seen()) > 12 }, patience, tick)

		c.answers(nil)

		c.requireAll(t, ids)
		require.Eventually(t, func() bool {
			shipped, err := s.ShippedSeq(t.Context(), c.URL+"/base")
			return err == nil && shipped > 0
		}, patience, tick)
		r.stop()
		require.Zero(t, r.counts()[decisionlog.Refused])
		require.Equal(t, 1, strings.Count(r.log.String(), "are not uploaded"), "it is said once")
		require.Contains(t, r.log.String(), "are uploaded again")
	})
}

func TestUploadRunsOnOneReplicaAndAnotherTakesOver(t *testing.T) {
	eachStore(t, func(t *testing.T, open func() store) {
		c := newCollector(t)
		first := open()
		ids := record(t, first, 1)
		working := uploading(t, first, c)
		c.requireAll(t, ids)
		waiting := uploading(t, open(), c)
		for range 20 {
			ids = append(ids, record(t, first, 5)...)
			c.requireAll(t, ids)
		}
		require.Empty(t, waiting.results, "it had nothing to do")

		working.stop()

		more := record(t, first, 5)
		c.requireAll(t, more)
		require.Eventually(t, func() bool { return len(waiting.results) > 0 }, patience, tick, "it hears of it after the collector has it")
	})
}

func TestUploadingGoesOnWhenAllThatWasUploadedIsDeleted(t *testing.T) {
	eachStore(t, func(t *testing.T, open func() store) {
		c := newCollector(t)
		s := open()
		require.NoError(t, s.SetShippedSeq(t.Context(), c.URL+"/base", 1<<40))
		uploading(t, s, c)
		c.requireAll(t, record(t, s, 3))
		require.Eventually(t, func() bool {
			shipped, err := s.ShippedSeq(t.Context(), c.URL+"/base")
			return err == nil && shipped < 1<<40
		}, patience, tick)
	})
}

func TestUploadHasDecisionsCommittedLate(t *testing.T) {
	url := testenv.DatabaseURL(t, testenv.RegistryCurrent)
	outbox := postgrestest.NewHeldOutbox(t, url)
	s := openPostgres(t, postgres.Options{URL: url, MaxConns: 8, Outbox: outbox, Timeout: patience})
	late := denied(t)
	late.WorkspaceID = outbox.Workspace
	late.UID = ""
	_, err := s.Pool().Exec(t.Context(), `insert into workspaces (id, name, kind, status) values ($1, 'w', 'platform', 'online')`, late.WorkspaceID)
	require.NoError(t, err)
	c := newCollector(t)
	first := uploading(t, s, c)
	c.requireAll(t, record(t, s, 1))
	late.MarkedFailed, late.Event = false, nil
	var failure error
	var marking sync.WaitGroup
	marking.Go(func() {
		_, failure = s.RecordAndMark(t.Context(), late, admission.Facts{}, func(context.Context, admission.Facts) (admission.Judged, error) {
			return admission.Judged{Decision: late}, nil
		})
	})
	outbox.WaitForIt(t)
	c.requireAll(t, record(t, s, 20))
	first.stop()
	require.False(t, c.has([]string{late.ID.String()}))
	uploading(t, s, c)

	outbox.LetGo(t)

	marking.Wait()
	require.NoError(t, failure)
	c.requireAll(t, append(record(t, s, 1), late.ID.String()))
}
