package resources

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/google/uuid"

	"github.com/molecule-ai/gatehouse/server/admission"
	"github.com/molecule-ai/gatehouse/server/admission/decode"
)

// MaxPage is the most that one page of a list holds.
const MaxPage = 1000

const defaultPage = 100

// query reads the parameters of a request. Its err is of the first that cannot be read; what is read after that is of no
// use.
type query struct {
	values url.Values
	err    error
}

func queryOf(r *http.Request) *query { return &query{values: r.URL.Query()} }

func (q *query) fail(detail string) {
	if q.err == nil {
		q.err = admission.Malformed(detail)
	}
}

// text is "" where the parameter is not given.
func (q *query) text(name string) string { return q.values.Get(name) }

// number is usual where the parameter is not given.
func (q *query) number(name string, usual, least, most int) int {
	text := q.text(name)
	if text == "" {
		return usual
	}
	number, err := strconv.Atoi(text)
	if err != nil || number < least || number > most {
		q.fail(fmt.Sprintf("%s is not a number from %d to %d", name, least, most))
	}
	return number
}

// limit is how many entries a page may have.
func (q *query) limit() int { return q.number("limit", defaultPage, 1, MaxPage) }

// cursor is where a page begins, Nil for the first.
func (q *query) cursor() uuid.UUID {
	text := q.text("cursor")
	if text == "" {
		return uuid.Nil
	}
	after, err := ParseID(text)
	if err != nil {
		q.fail("cursor is not one that a page gave")
	}
	return after
}

// flag is nil where the parameter is not given.
func (q *query) flag(name string) *bool {
	if !q.values.Has(name) {
		return nil
	}
	text := q.text(name)
	if text != "true" && text != "false" {
		q.fail(name + " is neither true nor false")
	}
	return new(text == "true")
}

// withInput says whether decisions are shown with their inputs.
func (q *query) withInput() bool {
	wanted := q.flag("input")
	return wanted != nil && *wanted
}

// moment is the zero time where the parameter is not given.
func (q *query) moment(name string) time.Time {
	if !q.values.Has(name) {
		return time.Time{}
	}
	at, err := time.Parse(time.RFC3339, q.text(name))
	if err != nil {
		q.fail(name + " is not a time as 2026-04-01T12:00:00Z")
	}
	return at
}

// workspaceID is Nil where it is not given.
func (q *query) workspaceID() uuid.UUID {
	if !q.values.Has("workspace_id") {
		return uuid.Nil
	}
	id, err := decode.ParseWorkspaceID(q.text("workspace_id"))
	if err != nil {
		q.fail("workspace_id is not a UUID")
	}
	return id
}

// pathID is the id that the path names, of what it is of.
func pathID(r *http.Request, of string) (uuid.UUID, error) {
	id, err := ParseID(chi.URLParam(r, "id"))
	if err != nil {
		return uuid.Nil, admission.Malformed("the id of the " + of + " is not a UUID")
	}
	return id, nil
}

// ParseID reads an id in the one spelling that answers have.
func ParseID(text string) (uuid.UUID, error) {
	id, err := uuid.Parse(text)
	if err == nil && id.String() != text {
		err = errors.New("not as ids are written")
	}
	return id, err
}

// unreadable is the error of a store that cannot be read, nil if it could.
func unreadable(what string, err error) error {
	if err == nil {
		return nil
	}
	return &admission.Error{Code: admission.CodeRecordFailed, Detail: "the " + what + " cannot be read", Err: err}
}
