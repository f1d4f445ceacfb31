// Package announce hands events out, at least once, to everybody who is to hear
// of them.
//
// It has two sides with a queue between them. The Outbox puts one job for each
// sink that wants an event into the queue, in the transaction that makes the
// event, so that an event is announced if and only if what it speaks of has
// happened. The Relay works the queue: each job goes to its sink, and again with
// growing delays until the sink has it or the time for retries is over. The job is dead
// then, and waits for an operator.
//
// SinkConfigs are how sinks are configured, and Open makes them. Package sinks has the
// sinks themselves, package queue where jobs wait, package operator what operators see and do.
//
// Each sink has a queue of its own, so that one that hangs holds up no other, and of its
// workers one workspace may hold a few only.
//
// Announcements have no order, but a sequence number in their workspace. A sink may
// get one twice: when a process dies between delivery and the note of it. The
// package does not decide what is announced, and it keeps no history: finished
// jobs go, the ledger stays.
package announce
