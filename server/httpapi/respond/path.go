package respond

import (
	"errors"
	"net/http"
	"net/url"
	"strings"
	"unicode/utf8"

	"github.com/go-chi/chi/v5"
)

// PathValue is a path segment as text. Escaped bytes may be anything, so what is not text is an error.
func PathValue(r *http.Request, name string) (string, error) {
	text := chi.URLParam(r, name)
	if strings.Contains(text, "%") {
		var err error
		text, err = url.PathUnescape(text)
		if err != nil {
			return "", err
		}
	}
	if !utf8.ValidString(text) || strings.ContainsRune(text, 0) {
		return "", errors.New("not text")
	}
	return text, nil
}
