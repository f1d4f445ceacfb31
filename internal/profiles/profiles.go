// Package profiles serves profiles of this process on a listener of its own.
package profiles

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"net/netip"
	"time"
)

// Server is a listener beside the public one, so that no route and no middleware of the one can open the other.
type Server struct {
	server *http.Server
	served chan error
	log    *slog.Logger
}

// Start serves profiles at an address of loopback.
func Start(ctx context.Context, listen string, logger *slog.Logger) (*Server, error) {
	address, err := net.ResolveTCPAddr("tcp", listen)
	if err != nil {
		return nil, fmt.Errorf("--admin-listen: %w", err)
	}
	if !address.IP.IsLoopback() {
		return nil, fmt.Errorf("--admin-listen %s is beyond loopback, and nobody is authenticated there: listen on 127.0.0.1", listen)
	}
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", address.String())
	if err != nil {
		return nil, fmt.Errorf("--admin-listen: %w", err)
	}
	a := &Server{
		server: &http.Server{
			Handler: onlyByAddress(profiles()), ReadHeaderTimeout: 5 * time.Second,
			ErrorLog: slog.NewLogLogger(logger.Handler(), slog.LevelDebug),
		},
		served: make(chan error, 1),
		log:    logger,
	}
	go func() { a.served <- a.server.Serve(listener) }()
	logger.Warn("profiles of this process are served to whoever is on this machine", "address", listener.Addr().String())
	return a, nil
}

// Close breaks off what is under way: a profile can take as long as its reader likes.
func (a *Server) Close() {
	_ = a.server.Close() // its listener's error is the one that Serve gives
	err := <-a.served
	if !errors.Is(err, http.ErrServerClosed) {
		a.log.Error("serving profiles", "error", err)
	}
}

// profiles leaves out pprof's own cmdline: flags can hold tokens and passwords.
func profiles() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	mux.HandleFunc("GET /debug/pprof/cmdline", http.NotFound)
	return mux
}

// onlyByAddress refuses requests that name the server: a web page whose name was made to mean 127.0.0.1 could
// otherwise have a browser on this machine read profiles.
func onlyByAddress(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host, _, err := net.SplitHostPort(r.Host)
		if err != nil {
			host = r.Host
		}
		address, err := netip.ParseAddr(host)
		if host != "localhost" && (err != nil || !address.IsLoopback()) {
			http.Error(w, "ask by the address", http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}
