package connection

import (
	"context"
	"errors"
)

var errClosed = errors.New("the SQLite store is closed")

// Lookups are connections for what reviews look up, and for nothing else: a listing of a million decisions takes none of them.
// Lending one costs less than with database/sql, which watches each context, even when nobody waits.
type Lookups struct {
	connector connector
	free      chan *Connection // nil for one that is not open yet
}

func newLookups(dsn string, size int) (*Lookups, error) {
	connector, err := newConnector(dsn, 0)
	if err != nil {
		return nil, err
	}
	l := &Lookups{connector: connector, free: make(chan *Connection, size)}
	for range size {
		l.free <- nil
	}
	return l, nil
}

// Do lends a connection to ask.
func (l *Lookups) Do(ctx context.Context, ask func(*Connection) error) error {
	c, err := l.take(ctx)
	if err != nil {
		return err
	}
	defer func() { l.free <- c }()
	if c == nil {
		c, err = l.connector.open(ctx)
		if err != nil {
			return err
		}
	}
	err = ask(c)
	if !c.IsValid() { // a statement was interrupted
		err = errors.Join(err, c.Close())
		c = nil
	}
	return err
}

// take asks when ctx ends only if all are lent.
func (l *Lookups) take(ctx context.Context) (*Connection, error) {
	err := ctx.Err()
	if err != nil {
		return nil, err
	}
	var c *Connection
	open := false
	select {
	case c, open = <-l.free:
	default:
		select {
		case c, open = <-l.free:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	if !open {
		return nil, errClosed
	}
	return c, nil
}

// close waits for those that are lent.
func (l *Lookups) close() error {
	var all []error
	for range cap(l.free) {
		c := <-l.free
		if c != nil {
			all = append(all, c.Close())
		}
	}
	close(l.free)
	return errors.Join(all...)
}
