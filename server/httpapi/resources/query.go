package resources

import (
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/google/uuid"

	"github.com/molecule-ai/gatehouse/server/admission"
)

// MaxPage is the most that one page of a list holds.
const MaxPage = 1000

const defaultPage = 100

// pageLimit is how many entries a page may have.
func pageLimit(values url.Values) (int, error) {
	text := values.Get("limit")
	if text == "" {
		return defaultPage, nil
	}
	limit, err := strconv.Atoi(text)
	if err != nil || limit < 1 || limit > MaxPage {
		return 0, admission.Malformed("limit is not a number from 1 to " + strconv.Itoa(MaxPage))
	}
	return limit, nil
}

// cursor is where a page begins, Nil for the first.
func cursor(values url.Values) (uuid.UUID, error) {
	text := values.Get("cursor")
	if text == "" {
		return uuid.Nil, nil
	}
	after, err := ParseID(text)
	if err != nil {
		return uuid.Nil, admission.Malformed("cursor is not one that a page gave")
	}
	return after, nil
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

// wantsInput says whether decisions are shown with their inputs.
func wantsInput(values url.Values) (bool, error) {
	wanted, err := flag(values, "input")
	return wanted != nil && *wanted, err
}

// flag gives nil for what is not in the query.
func flag(values url.Values, name string) (*bool, error) {
	if !values.Has(name) {
		return nil, nil
	}
	switch values.Get(name) {
	case "true":
		return new(true), nil
	case "false":
		return new(false), nil
	default:
		return nil, admission.Malformed(name + " is neither true nor false")
	}
}

func moment(values url.Values, name string) (time.Time, error) {
	if !values.Has(name) {
		return time.Time{}, nil
	}
	at, err := time.Parse(time.RFC3339, values.Get(name))
	if err != nil {
		return time.Time{}, admission.Malformed(name + " is not a time as 2026-04-01T12:00:00Z")
	}
	return at, nil
}

// unreadable is the error of a store that cannot be read, nil if it could.
func unreadable(what string, err error) error {
	if err == nil {
		return nil
	}
	return &admission.Error{Code: admission.CodeRecordFailed, Detail: "the " + what + " cannot be read", Err: err}
}
