package decisionlog_test

import (
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
)

// collector is a server of OPA's decision log API that takes nothing but what the API says.
type collector struct {
	*httptest.Server
	token string

	mu      sync.Mutex
	got     map[string]int // how often each decision came
	order   []string
	uploads []upload
	wrong   []error
	answer  func(u upload) int // nil: 200 for all
}

// upload is one that the API allows.
type upload struct {
	ids   []string
	bytes int
}

func newCollector(t testing.TB) *collector {
	t.Helper()
	c := &collector{got: make(map[string]int), token: "planted-token"}
	c.Server = httptest.NewServer(c)
	t.Cleanup(c.Close)
	return c
}

func (c *collector) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	u, err := c.read(r)
	if err != nil {
		c.wrong = append(c.wrong, err)
		w.WriteHeader(http.StatusTeapot)
		return
	}
	c.uploads = append(c.uploads, u)
	status := http.StatusOK
	if c.answer != nil {
		status = c.answer(u)
	}
	switch status {
	case 0:
		panic(http.ErrAbortHandler) // the connection breaks, and nobody knows whether it came
	case http.StatusOK, http.StatusNoContent:
		c.take(u)
	}
	w.WriteHeader(status)
}

func (c *collector) take(u upload) {
	for _, id := range u.ids {
		c.got[id]++
		c.order = append(c.order, id)
	}
}

func (c *collector) read(r *http.Request) (upload, error) {
	if r.Method != http.MethodPost || r.URL.Path != "/base/logs" || r.URL.RawQuery != "" {
		return upload{}, fmt.Errorf("%s %s", r.Method, r.URL)
	}
	if r.Header.Get("Content-Type") != "application/json" || r.Header.Get("Content-Encoding") != "gzip" ||
		r.Header.Get("Authorization") != "Bearer "+c.token {
		return upload{}, fmt.Errorf("headers %v", r.Header)
	}
	counted := &countingReader{Reader: r.Body}
	unzipped, err := gzip.NewReader(counted)
	if err != nil {
		return upload{}, err
	}
	var events []json.RawMessage
	decoder := json.NewDecoder(unzipped)
	err = decoder.Decode(&events)
	if err != nil {
		return upload{}, err
	}
	_, err = decoder.Token()
	if !errors.Is(err, io.EOF) {
		return upload{}, errors.New("something follows the array")
	}
	u := upload{bytes: counted.n}
	for _, text := range events {
		event, err := decodeStrictly(text)
		if err != nil || event.DecisionID == "" || event.Timestamp.IsZero() || event.Labels["app"] != "gatehouse" {
			return upload{}, fmt.Errorf("%s: %w", text, err)
		}
		u.ids = append(u.ids, event.DecisionID)
	}
	if len(events) == 0 {
		return upload{}, errors.New("an upload of nothing")
	}
	return u, nil
}

type countingReader struct {
	io.Reader
	n int
}

func (r *countingReader) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	r.n += n
	return n, err
}

// answers makes the collector give a status to every upload from now on.
func (c *collector) answers(answer func(u upload) int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.answer = answer
}

// has says whether all of ids have come.
func (c *collector) has(ids []string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !slices.ContainsFunc(ids, func(id string) bool { return c.got[id] == 0 })
}

func (c *collector) seen() []upload {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.uploads)
}

func (c *collector) mistakes() []error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.wrong
}
