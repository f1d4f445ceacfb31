package resources

import (
	"net/url"
	"strconv"
	"time"

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
