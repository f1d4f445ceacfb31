package respond

import (
	"bytes"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/molecule-ai/gatehouse/server/admission"
	"github.com/molecule-ai/gatehouse/server/admission/decode"
)

const jsonType = "application/json"

// checkContentType takes JSON in UTF-8, which JSON is in unless it is said otherwise.
func checkContentType(contentType string) error {
	if contentType == jsonType {
		return nil
	}
	media, parameters, err := mime.ParseMediaType(contentType)
	if err != nil || media != jsonType {
		return &admission.Error{Code: admission.CodeUnsupportedMediaType, Detail: "the Content-Type is not application/json"}
	}
	charset, given := parameters["charset"]
	if given && !strings.EqualFold(charset, "utf-8") && !strings.EqualFold(charset, "utf8") {
		return &admission.Error{Code: admission.CodeUnsupportedMediaType, Detail: "the charset of the Content-Type is not utf-8"}
	}
	return nil
}

// mostKept bounds the space that is reserved for the length that a body claims, and the buffers that are kept for reuse.
const mostKept = 64 << 10

// withBuffer lends a buffer to use, which must keep no part of it.
func (r *Responder) withBuffer(use func(buffer *bytes.Buffer) error) error {
	buffer, _ := r.buffers.Get().(*bytes.Buffer)
	buffer.Reset()
	err := use(buffer)
	if buffer.Cap() <= mostKept { // the space of one large body must not be held for good
		r.buffers.Put(buffer)
	}
	return err
}

// Decode reads a JSON body of up to limit bytes and decodes it. read gets the body and how deep it may nest; it must keep no
// part of the body.
func Decode[T any](
	r *Responder, w http.ResponseWriter, request *http.Request, limit int64, read func(body []byte, maxDepth int) (T, error),
) (decoded T, err error) {
	err = r.withBuffer(func(buffer *bytes.Buffer) error {
		err := r.readInto(buffer, w, request, limit)
		if err != nil {
			return err
		}
		decoded, err = read(buffer.Bytes(), r.Limits.Depth)
		return err
	})
	return decoded, err
}

// DecodeStrict reads a JSON body of up to limit bytes into a value, as decode.Strict does.
func (r *Responder) DecodeStrict(w http.ResponseWriter, request *http.Request, limit int64, into any) error {
	_, err := Decode(r, w, request, limit, func(body []byte, maxDepth int) (any, error) {
		return into, decode.Strict(body, into, maxDepth)
	})
	return err
}

// readInto reads a JSON body of up to limit bytes. It lifts the read deadline, because net/http goes on reading
// to notice a client that hangs up, and would take the deadline for that.
func (r *Responder) readInto(buffer *bytes.Buffer, w http.ResponseWriter, request *http.Request, limit int64) error {
	err := checkContentType(request.Header.Get("Content-Type"))
	if err != nil {
		return err
	}
	if encoding := request.Header.Get("Content-Encoding"); encoding != "" && encoding != "identity" {
		return &admission.Error{Code: admission.CodeUnsupportedMediaType, Detail: "the body has a Content-Encoding"}
	}
	buffer.Grow(int(max(0, min(request.ContentLength, mostKept))) + bytes.MinRead)
	_, err = buffer.ReadFrom(http.MaxBytesReader(w, request.Body, limit))
	if err == nil {
		err = http.NewResponseController(w).SetReadDeadline(time.Time{})
	}
	var tooLarge *http.MaxBytesError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &tooLarge):
		return &admission.Error{Code: admission.CodeRequestTooLarge, Detail: fmt.Sprintf("the body is larger than %d bytes", limit)}
	case errors.Is(err, os.ErrDeadlineExceeded):
		return &admission.Error{Code: admission.CodeDeadlineExceeded, Detail: "the body did not arrive in time", Err: err}
	default:
		return &admission.Error{Code: admission.CodeMalformedRequest, Detail: "the body could not be read", Err: err}
	}
}
