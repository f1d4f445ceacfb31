package stream

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/server/admission"
)

func TestLedgerIsReadOnlyWhileThereAreReaders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		o := NewOnDemand(Events(m), Options{}, time.Minute)
		time.Sleep(time.Hour)
		require.Zero(t, m.readSoFar())

		reading, leave := context.WithCancel(t.Context())
		next, err := o.Subscribe(reading, FromNow)
		require.NoError(t, err)
		position := read(t, next, 1)[0].Position
		m.write(workspace(1), 1)
		require.Equal(t, []int64{1}, sequences(read(t, next, 1)))
		other, leaveToo := context.WithCancel(t.Context())
		_, err = o.Subscribe(other, FromNow)
		require.NoError(t, err)
		leave()
		before := m.readSoFar()
		time.Sleep(time.Hour)
		require.Greater(t, m.readSoFar(), before, "one is reading still")

		leaveToo()
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		before = m.readSoFar()
		m.write(workspace(1), 1)
		time.Sleep(time.Hour)
		require.Equal(t, before, m.readSoFar())
		next, err = o.Subscribe(t.Context(), position)
		require.NoError(t, err)
		require.Equal(t, []int64{1, 2}, sequences(read(t, next, 2)), "who comes back has missed nothing")
		o.Close()
	})
}

func TestReaderThatComesBackInTimeKeepsTheHub(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := NewOnDemand(Events(newMemory()), Options{}, time.Minute)
		var hubs []*Hub[admission.Event]
		for range 3 {
			reading, leave := context.WithCancel(t.Context())
			_, err := o.Subscribe(reading, FromNow)
			require.NoError(t, err)
			hubs = append(hubs, o.hub)
			leave()
			time.Sleep(59 * time.Second)
		}
		require.Same(t, hubs[0], hubs[1])
		require.Same(t, hubs[0], hubs[2])
		o.Close()
	})
}

func TestClosingEndsReadersForGood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := NewOnDemand(Events(newMemory()), Options{}, time.Minute)
		next, err := o.Subscribe(t.Context(), FromNow)
		require.NoError(t, err)
		read(t, next, 1)

		o.Close()

		_, err = next(t.Context())
		require.ErrorIs(t, err, ErrClosed)
		_, err = o.Subscribe(t.Context(), FromNow)
		require.ErrorIs(t, err, ErrClosed)
		o.Close()
	})
}
