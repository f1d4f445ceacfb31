// Package announce hands events out, at least once, to everybody who is to hear
// of them.
//
// It has two sides with a queue between them. The Outbox puts one Job for each
// sink that wants an event into the queue, in the transaction that makes the
// event, so that an event is announced if and only if what it speaks of has
// happened. The Relay works the queue: each Job goes to its Sink, and again with
// growing delays until the sink has it or the time for retries is over. It is dead
// then, and waits for an operator, who sees the queue through Announcements.
//
// Sinks are webhooks, Redis channels and NATS streams; SinkConfigs are how they are
// configured, and Open makes them.
//
// The queue is River (riverqueue.com), on Postgres or SQLite; a Database says
// which, and brings the tables up to date. Each sink has a queue of its own, so
// that one that hangs holds up no other, and of its workers one workspace may hold
// a few only.
//
// Announcements have no order, but a sequence number in their workspace. A sink may
// get one twice: when a process dies between delivery and the note of it. The
// package does not decide what is announced, and it keeps no history: finished
// jobs go, the ledger stays.
package announce
