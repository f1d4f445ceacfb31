//go:build linux

package load

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"syscall"
	"time"
)

// connection is one keep-alive connection with at most one request under way.
type connection struct {
	file   *os.File
	fd     int32
	began  time.Time
	unsent []byte
	buffer []byte
	filled int
}

type answer struct {
	status int
	body   []byte // valid until the next read
}

func dial(ctx context.Context, address string) (*connection, error) {
	var dialer net.Dialer
	dialled, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	defer func() { _ = dialled.Close() }() // file is a duplicate
	tcp, _ := dialled.(*net.TCPConn)
	file, err := tcp.File()
	if err != nil {
		return nil, fmt.Errorf("taking a connection's descriptor: %w", err)
	}
	fd := int(file.Fd())
	err = syscall.SetNonblock(fd, true)
	if err != nil {
		_ = file.Close()
		return nil, fmt.Errorf("making a connection non-blocking: %w", err)
	}
	return &connection{file: file, fd: int32(fd), buffer: make([]byte, 64<<10)}, nil
}

func (c *connection) close() { _ = c.file.Close() }

// flush sends what the connection takes now; the rest waits for the next event.
func (c *connection) flush() error {
	for len(c.unsent) > 0 {
		n, err := syscall.Write(int(c.fd), c.unsent)
		switch {
		case errors.Is(err, syscall.EAGAIN):
			return nil
		case errors.Is(err, syscall.EINTR):
		case err != nil:
			return fmt.Errorf("sending a request: %w", err)
		default:
			c.unsent = c.unsent[n:]
		}
	}
	return nil
}

// read takes what is there, until an answer is whole or there is no more.
func (c *connection) read() (answer, bool, error) {
	for {
		if c.filled == len(c.buffer) {
			c.buffer = append(c.buffer, make([]byte, len(c.buffer))...)
		}
		n, err := syscall.Read(int(c.fd), c.buffer[c.filled:])
		switch {
		case errors.Is(err, syscall.EAGAIN):
			return answer{}, false, nil
		case errors.Is(err, syscall.EINTR):
			continue
		case err != nil:
			return answer{}, false, fmt.Errorf("reading an answer: %w", err)
		case n == 0:
			return answer{}, false, fmt.Errorf("reading an answer: %w", io.ErrUnexpectedEOF)
		}
		c.filled += n
		a, length, err := parse(c.buffer[:c.filled])
		if err != nil {
			return answer{}, false, err
		}
		if length > 0 {
			c.filled = 0 // one request at a time: nothing comes behind its answer
			return a, true, nil
		}
	}
}

var (
	blankLine     = []byte("\r\n\r\n")
	contentLength = []byte("\r\nContent-Length: ")
)

// parse gives the answer and its length, 0 while it is not whole.
func parse(text []byte) (answer, int, error) {
	head := bytes.Index(text, blankLine)
	if head < 0 {
		return answer{}, 0, nil
	}
	const statusAt, statusEnd = len("HTTP/1.1 "), len("HTTP/1.1 200")
	at := bytes.Index(text[:head], contentLength)
	if at < 0 || head < statusEnd {
		return answer{}, 0, fmt.Errorf("an answer without a Content-Length: %.200s", text)
	}
	value := text[at+len(contentLength) : head]
	if end := bytes.IndexByte(value, '\r'); end >= 0 {
		value = value[:end]
	}
	length, err := strconv.Atoi(string(value))
	if err != nil {
		return answer{}, 0, fmt.Errorf("the Content-Length of an answer: %w", err)
	}
	status, err := strconv.Atoi(string(text[statusAt:statusEnd]))
	if err != nil {
		return answer{}, 0, fmt.Errorf("the status of an answer: %w", err)
	}
	total := head + len(blankLine) + length
	if len(text) < total {
		return answer{}, 0, nil
	}
	return answer{status, text[head+len(blankLine) : total]}, total, nil
}
