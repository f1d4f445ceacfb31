// Package testenv gives tests the real services that Gatehouse works with:
// PostgreSQL, Redis and promtool.
//
// A test asks for what it needs ([DatabaseURL], [RedisURL], [Promtool]) and
// gets it or fails with a sentence that says what to do; it is never skipped.
// Services come from, in this order: a server named in the environment
// ([DatabaseVariable], [RedisVariable]), programs installed on the machine,
// Debian's packages when the tests run as root on Debian. Servers started here
// listen on loopback only, have a random password, keep their files in a
// temporary folder and end with the process that started them. A test binary
// that is killed leaves that folder behind.
//
// A package with such tests has
//
//	func TestMain(m *testing.M) { os.Exit(testenv.Main(m)) }
//
// and the folder withservices has a command that starts the servers once for a
// whole "go test ./...".
//
// The package has no fakes, no assertions and no way to wait for a condition
// (testify has those), it knows nothing of Gatehouse's own tables, and the
// product never imports it.
package testenv
