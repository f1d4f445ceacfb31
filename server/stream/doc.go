// Package stream shows a ledger as it grows, the same in every process that has a Hub on it.
//
// A Hub reads the ledger when it is woken, keeps what it read last, and lets any number of readers follow. A
// reader holds nobody up: it takes items from the Hub when it is ready for them, and is given up when the Hub no
// longer has them. One that comes back reads from the ledger what it has missed.
//
// Nothing is lost, and a reader that resumes may get an item twice: see Hub for why. The package does not write
// to a ledger and knows no transport.
package stream
