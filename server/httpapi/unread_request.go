package httpapi

import (
	"bytes"
	"cmp"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strconv"

	"github.com/go-json-experiment/json"

	"github.com/molecule-ai/gatehouse/server/admission"
	"github.com/molecule-ai/gatehouse/server/httpapi/respond"
)

// Listener makes net/http's own errors problems too. net/http itself answers a request that it cannot read, as text/plain and
// before any handler runs: headers that are too large, a malformed request line, no Host. It has no option for that. So
// these answers are recognised on their way out, by headers that no other answer has.
func (s *Server) Listener(inner net.Listener) net.Listener { return problemListener{inner, s} }

type problemListener struct {
	net.Listener
	server *Server
}

func (l problemListener) Accept() (net.Conn, error) {
	accepted, err := l.Listener.Accept()
	connection, isTCP := accepted.(*net.TCPConn)
	if err != nil || !isTCP {
		return accepted, err
	}
	return problemConn{connection, l.server}, nil
}

// problemConn keeps what net/http uses of a TCP connection.
type problemConn struct {
	*net.TCPConn
	server *Server
}

func (c problemConn) Write(p []byte) (int, error) {
	status, reason, unread := readRefusal(p)
	if !unread {
		return c.TCPConn.Write(p)
	}
	_, err := c.TCPConn.Write(c.server.refuseUnread(status, reason))
	if err != nil {
		return 0, err
	}
	return len(p), nil
}

// refusalHeaders are all headers of an answer of net/http's own. Every other answer has a Date.
var refusalHeaders = []byte("Content-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n")

// readRefusal reads an answer of net/http's own; unread is false for any other. The reason is "" or one of net/http's
// own sentences, and has nothing of the request.
func readRefusal(p []byte) (status int, reason string, unread bool) {
	rest, isError := bytes.CutPrefix(p, []byte("HTTP/1.1 "))
	if !isError || len(rest) == 0 || rest[0] < '4' {
		return 0, "", false
	}
	line, rest, _ := bytes.Cut(rest, []byte("\r\n"))
	if !bytes.HasPrefix(rest, refusalHeaders) || len(line) < 3 {
		return 0, "", false
	}
	status, err := strconv.Atoi(string(line[:3]))
	if err != nil {
		return 0, "", false
	}
	_, reasonOfLine, _ := bytes.Cut(line, []byte(": "))
	return status, string(reasonOfLine), true
}

// refuseUnread is the whole answer to a request that could not be read.
func (s *Server) refuseUnread(status int, reason string) []byte {
	refused := &admission.Error{Code: admission.CodeMalformedRequest, Detail: cmp.Or(reason, "the request cannot be read as HTTP/1.1")}
	if status == http.StatusRequestHeaderFieldsTooLarge {
		refused = &admission.Error{Code: admission.CodeHeadersTooLarge, Detail: "the headers are larger than this server takes"}
	}
	answer := respond.NewProblem(refused)
	s.options.Logger.Info("refused", slog.String("code", string(refused.Code)), slog.String("detail", refused.Detail))
	s.options.Observer.Served(noRoute, respond.OtherMethod, answer.Status, 0)

	body, err := json.Marshal(answer)
	if err != nil { // it holds strings and a number
		body = nil
	}
	return fmt.Appendf(nil, "HTTP/1.1 %d %s\r\nContent-Type: application/problem+json\r\nContent-Length: %d\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n%s\n",
		answer.Status, answer.Title, len(body)+1, body)
}
