// Package httpapi is the HTTP service: routes, who may call them, and what goes over the wire.
//
// Handlers decode a request into types of package admission, ask the Gate, and write its answer. No handler writes an error:
// it returns one, and package respond turns it into a response.
package httpapi
