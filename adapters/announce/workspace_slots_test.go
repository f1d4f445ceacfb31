package announce

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
)

func TestWorkspaceSlotsAreFew(t *testing.T) {
	shared, workspace := &workspaceSlots{}, uuid.New()
	var leaves []func()
	for range attemptsPerWorkspace {
		leave, _ := shared.take(t.Context(), workspace)
		require.NotNil(t, leave)
		leaves = append(leaves, leave)
	}
	other, _ := shared.take(t.Context(), uuid.New())
	require.NotNil(t, other, "another workspace has slots of its own")
	other()

	// Many more come: a few wait in vain, the others need not wait for that.
	var all sync.WaitGroup
	var refused, atOnce atomic.Int64
	begun := time.Now()
	for range 50 {
		all.Go(func() {
			leave, putOff := shared.take(t.Context(), workspace)
			if leave == nil && putOff > 0 && putOff <= 50*putOffSpacing+slotPatience {
				refused.Add(1)
			}
			if time.Since(begun) < slotPatience {
				atOnce.Add(1)
			}
		})
	}
	all.Wait()
	require.EqualValues(t, 50, refused.Load())
	require.LessOrEqual(t, atOnce.Load(), int64(50-waitingPerWorkspace))

	waiting := make(chan func())
	go func() {
		leave, _ := shared.take(t.Context(), workspace)
		waiting <- leave
	}()
	leaves[0]()
	leaves[0] = <-waiting
	require.NotNil(t, leaves[0], "the one that waits gets the slot that is given back")
	for _, leave := range leaves {
		leave()
	}
	require.Empty(t, shared.byWorkspace)
}

func TestWorkspaceSlotsSpaceOutWhatIsPutOff(t *testing.T) {
	full := &slots{}
	last := time.Duration(0)
	for range 10 {
		next := full.putOff()
		require.Greater(t, next, last)
		last = next
	}
	for range 20_000 {
		last = full.putOff()
	}
	require.Equal(t, putOffLimit, last)
}
