package audit_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/server/audit"
)

// These run on a clock that goes on when everything waits.

func TestAuditRateAndProgress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory(named(t, "a", "b", "c", "d", "e")...)
		var seen []int64
		start := time.Now()
		run, err := m.on(&rules{}, func(o *audit.Options) {
			o.Rate = 2 // and so two a page
			o.Progress = func(run audit.Run) { seen = append(seen, run.Evaluated) }
		}).Run(t.Context())
		require.NoError(t, err)
		require.Equal(t, []int64{2, 4, 5, 5}, seen)
		require.Equal(t, 2*time.Second, time.Since(start), "the first one waits for nobody")
		require.Equal(t, 2*time.Second, run.Worked)
	})
}

func TestAuditLargeRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory(named(t, make([]string, 5000)...)...)
		start := time.Now()
		_, err := m.on(&rules{}, func(o *audit.Options) { o.Rate = 1000 }).Run(t.Context())
		require.NoError(t, err)
		require.InDelta(t, 5, time.Since(start).Seconds(), 0.1)
	})
}

func TestAuditWorkedExcludesInterruptions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory(named(t, "a", "b", "c", "d", "e", "f")...)
		r := &rules{}
		slow := func(o *audit.Options) { o.Rate = 1 }
		ctx, stop := context.WithTimeout(t.Context(), 2500*time.Millisecond)
		defer stop()
		_, err := m.on(r, slow).Run(ctx)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		time.Sleep(time.Hour)
		run, err := m.on(r, slow).Run(t.Context())
		require.NoError(t, err)
		require.EqualValues(t, 6, run.Evaluated)
		require.Less(t, run.Worked, 10*time.Second)
		require.Greater(t, run.FinishedAt.Sub(run.StartedAt), time.Hour)
	})
}

// startedAt are when the runs of a store began, oldest first, since a time.
func (m *memory) startedAt(since time.Time) (all []time.Duration) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	for i := range m.runs {
		all = append(all, m.runs[len(m.runs)-1-i].StartedAt.Sub(since))
	}
	return all
}

func TestScheduleSurvivesRestarts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory(named(t, "a", "b")...)
		start := time.Now()
		serve := func(lasting time.Duration) {
			ctx, stop := context.WithTimeout(t.Context(), lasting)
			defer stop()
			m.on(&rules{}).Schedule(ctx, time.Hour)
		}
		serve(90 * time.Minute)
		require.Equal(t, []time.Duration{0, time.Hour}, m.startedAt(start))
		serve(10 * time.Minute)
		require.Len(t, m.runs, 2, "a restart is no reason")
		time.Sleep(3 * time.Hour)
		serve(10 * time.Minute)
		require.Equal(t, []time.Duration{0, time.Hour, 280 * time.Minute}, m.startedAt(start), "late is late once")
	})
}

func TestScheduleIsSharedByReplicas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory(named(t, "a", "b", "c")...)
		ctx, stop := context.WithTimeout(t.Context(), 150*time.Minute)
		defer stop()
		start := time.Now()
		for range 3 {
			go m.on(&rules{}, func(o *audit.Options) { o.Rate = 1 }).Schedule(ctx, time.Hour)
		}
		<-ctx.Done()
		synctest.Wait()
		started := m.startedAt(start)
		require.Len(t, started, 3)
		for i, at := range started {
			require.InDelta(t, float64(i)*60, at.Minutes(), 1)
		}
		for _, run := range m.runs {
			require.Equal(t, audit.Finished, run.State)
			require.EqualValues(t, 3, run.Evaluated)
		}
	})
}

func TestScheduleResumesAnInterruptedRunAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory(named(t, "a", "b", "c", "d")...)
		serve := func(lasting time.Duration) {
			ctx, stop := context.WithTimeout(t.Context(), lasting)
			defer stop()
			m.on(&rules{}, func(o *audit.Options) { o.Rate = 1 }).Schedule(ctx, 24*time.Hour)
		}
		serve(1500 * time.Millisecond)
		require.Equal(t, audit.Running, m.runs[0].State)
		serve(time.Minute)
		require.Len(t, m.runs, 1)
		require.Equal(t, audit.Finished, m.runs[0].State)
		require.EqualValues(t, 4, m.runs[0].Evaluated)
	})
}

func TestScheduleThatEnforcesIgnoresOtherRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory(named(t, "nameless")...)
		_, err := m.on(&rules{}).Run(t.Context())
		require.NoError(t, err)
		ctx, stop := context.WithTimeout(t.Context(), time.Minute)
		defer stop()
		m.on(&rules{}, func(o *audit.Options) { o.Gate = m.gate() }).Schedule(ctx, time.Hour)
		require.Len(t, m.runs, 2)
		require.EqualValues(t, 1, m.runs[0].Marked)
	})
}

func TestScheduleIgnoresRunsOfCandidates(t *testing.T) {
	for name, change := range map[string]func(*audit.Options){
		"candidates":       func(o *audit.Options) { o.Candidate = true },
		"other deployment": func(o *audit.Options) { o.Deployment.SaaS = true },
		"other facts":      func(o *audit.Options) { o.FactsRevision = "f2" },
	} {
		synctest.Test(t, func(t *testing.T) {
			m := newMemory(named(t, "a")...)
			_, err := m.on(&rules{}, change).Run(t.Context())
			require.NoError(t, err)
			ctx, stop := context.WithTimeout(t.Context(), 90*time.Minute)
			defer stop()
			m.on(&rules{}).Schedule(ctx, time.Hour)
			require.Len(t, m.runs, 3, name)
		})
	}
}

func TestScheduleOutlivesAStoreThatIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory(named(t, "a")...)
		m.fail = errAway
		ctx, stop := context.WithTimeout(t.Context(), time.Hour)
		defer stop()
		go m.on(&rules{}).Schedule(ctx, 2*time.Hour)
		time.Sleep(10 * time.Minute)
		m.mutex.Lock()
		m.fail = nil
		m.mutex.Unlock()
		<-ctx.Done()
		synctest.Wait()
		require.Len(t, m.runs, 1)
	})
}
