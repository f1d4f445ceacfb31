package storetest

import (
	"context"
	"fmt"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/molecule-ai/gatehouse/server/admission"
)

var modelTests = map[string]func(*testing.T, Harness){
	"any sequence of requests and changes leaves what a small model says": func(t *testing.T, h Harness) {
		rapid.Check(t, func(rt *rapid.T) {
			m := &machine{t: t, h: h, id: uuid.New(), answered: make(map[admission.RequestKey]admission.Decision)}
			h.PutWorkspace(t, m.id, platform(ordinary))
			m.status = "provisioning"
			rt.Repeat(map[string]func(*rapid.T){
				"register": m.register, "change status": m.changeStatus, "secret": m.secret, "": m.check,
			})
		})
	},
}

// machine is one workspace and what should be known of it.
type machine struct {
	t  *testing.T
	h  Harness
	id uuid.UUID

	status, lastError string
	hasModel          bool
	decisions, events int
	answered          map[admission.RequestKey]admission.Decision
}

func (m *machine) register(rt *rapid.T) {
	d := decision(rt, m.id, allowed())
	if n := rapid.IntRange(0, 3).Draw(rt, "uid, 0 for none"); n > 0 {
		caller := rapid.SampledFrom([]string{"registry", "another registry"}).Draw(rt, "caller")
		d = withUID(of(caller, d), fmt.Sprintf("%s-%d", m.id, n), "body")
	}
	got, err := m.ask(rt, d)
	require.NoError(rt, err)

	if before, repeated := m.answered[d.RequestKey()]; repeated {
		require.Equal(rt, before.ID, got.ID)
		require.Equal(rt, before.MarkedFailed, got.MarkedFailed)
		return
	}
	m.decisions++
	marks := !m.hasModel && admission.ShouldMark(m.status, m.lastError, got.Verdict.Marking())
	require.Equal(rt, m.hasModel, got.Verdict.Allowed())
	require.Equal(rt, marks, got.MarkedFailed)
	if marks {
		m.status, m.lastError = "failed", modelMissing
		m.events++
	}
	if d.UID != "" {
		m.answered[d.RequestKey()] = got
	}
}

// ask passes facts that may be old: what counts is what the store finds under the lock.
func (m *machine) ask(rt *rapid.T, d admission.Decision) (admission.Decision, error) {
	ctx := context.Background()
	if rapid.Bool().Draw(rt, "on old facts") {
		d.Verdict = denied("an older reason")
		return mark(ctx, m.h.Store(), d, admission.Facts{})
	}
	return register(m.t, m.h.Store(), d)
}

func (m *machine) changeStatus(rt *rapid.T) {
	m.status = rapid.SampledFrom([]string{"", "online", "offline", "failed", "removed", "paused"}).Draw(rt, "status")
	m.lastError = rapid.SampledFrom([]string{"", "container exited"}).Draw(rt, "last error")
	w := platform(ordinary, status(m.status))
	if m.status == "" {
		w.Status = nil
	}
	if m.lastError != "" {
		w.LastSampleError = new(m.lastError)
	}
	m.h.PutWorkspace(m.t, m.id, w)
}

func (m *machine) secret(*rapid.T) {
	if m.hasModel {
		m.h.DeleteSecret(m.t, m.id, model)
	} else {
		m.h.PutSecret(m.t, m.id, model)
	}
	m.hasModel = !m.hasModel
}

func (m *machine) check(rt *rapid.T) {
	row := m.h.Row(m.t, m.id)
	require.Equal(rt, m.status, row.Status)
	require.Equal(rt, m.lastError, row.LastError)
	require.Len(rt, m.h.Decisions(m.t, m.id), m.decisions)
	require.Len(rt, m.h.OutgoingEvents(m.t, m.id), m.events)
}
