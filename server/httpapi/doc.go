// Package httpapi is the HTTP service: routes, who may call them, and what goes over the wire.
//
// Handlers read a request into the words of package admission, ask the Gate, and write its answer. No
// handler writes an error: it returns one, and problem.go turns it into a response in one place.
package httpapi
