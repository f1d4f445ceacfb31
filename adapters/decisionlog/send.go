package decisionlog

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"time"

	"github.com/molecule-ai/gatehouse/internal/retryafter"
)

const (
	maxDelay = time.Minute
	// maxRetryAfter bounds what a collector may ask for.
	maxRetryAfter = 10 * time.Minute
	// refusals is how often an event is refused before it is passed over. The waits between them make it slow, so that
	// few decisions are lost before somebody notices that a collector refuses everything by mistake.
	refusals = 6
)

// verdict is what a collector says of an upload.
type verdict int

const (
	taken   verdict = iota
	content         // the collector does not take this upload
	later           // something else is wrong, which may pass or be mended
)

// judge tells apart what is wrong with the events and what is wrong with the collector, the network or the token. The
// latter is mended one day, so it is no reason to lose a decision.
func judge(status int) verdict {
	switch {
	case status >= 200 && status < 300:
		return taken
	case status == http.StatusBadRequest, status == http.StatusRequestEntityTooLarge, status == http.StatusUnprocessableEntity:
		return content
	default:
		return later
	}
}

// newClient uses the proxy of the environment, if there is one (HTTPS_PROXY, NO_PROXY). It follows no redirect: an
// upload is for the configured collector only.
func newClient() *http.Client {
	return &http.Client{
		Timeout:       postTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// send tries until the collector has the first events, or passes one event over. If it returns an error, the events are
// still in the backlog.
func (u *Uploader) send(ctx context.Context, b *backlog) error {
	refused := 0
	for attempt := 0; ; attempt++ {
		body, n, err := b.chunk(u.options.MaxBytes)
		if err != nil {
			return fmt.Errorf("compressing an upload: %w", err)
		}
		status, retryAfter, err := u.post(ctx, body)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		switch {
		case err == nil && judge(status) == taken:
			u.note(ctx, nil)
			u.options.Observe(Accepted)
			b.done(n)
			b.widen()
			return u.save(ctx, b)
		case err == nil && judge(status) == content && n > 1:
			u.options.Observe(Retried)
			b.split(n)
			continue // at once: there is nothing to wait for
		case err == nil && judge(status) == content:
			refused++
		}
		if err == nil {
			err = fmt.Errorf("the collector answered %d %s", status, http.StatusText(status))
		}
		if refused == refusals {
			u.options.Observe(Refused)
			u.options.Logger.ErrorContext(ctx, "a decision was not uploaded: the collector does not take it",
				"decision_id", b.events[0].id, "collector", u.options.URL, "error", err)
			b.done(1)
			return u.save(ctx, b)
		}
		u.options.Observe(Retried)
		u.note(ctx, err)
		err = sleep(ctx, max(jittered(min(u.options.Retry<<min(attempt, 16), maxDelay)), retryAfter))
		if err != nil {
			return err
		}
	}
}

// post makes one attempt. Its errors name the URL, which holds no secret.
func (u *Uploader) post(ctx context.Context, body []byte) (status int, retryAfter time.Duration, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, u.options.URL+"/logs", bytes.NewReader(body))
	if err != nil {
		return 0, 0, err
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Content-Encoding", "gzip")
	request.Header.Set("User-Agent", u.options.UserAgent)
	if u.options.Token != nil {
		request.Header.Set("Authorization", "Bearer "+u.options.Token())
	}
	response, err := u.client.Do(request)
	if err != nil {
		return 0, 0, err
	}
	defer func() { _ = response.Body.Close() }()
	_, _ = io.CopyN(io.Discard, response.Body, 64<<10) // so that the connection can be used again
	return response.StatusCode, retryafter.Parse(response.Header, time.Now(), maxRetryAfter), nil
}

// jittered is random between half of d and d.
func jittered(d time.Duration) time.Duration { return d/2 + rand.N(d/2+1) }

// sleep returns an error if ctx ends first.
func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
