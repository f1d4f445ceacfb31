//go:build linux

package compare

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sync/errgroup"
)

// profile keeps a CPU profile of each server of Gatehouse while it is under its load.
func (o options) profile(ctx context.Context, subjects []*subject) error {
	err := os.MkdirAll(o.profiles, 0o755)
	if err != nil {
		return err
	}
	for _, s := range subjects {
		if s.target.server.Admin == "" {
			continue
		}
		if s.before != nil {
			err := s.before(ctx)
			if err != nil {
				return err
			}
		}
		file := filepath.Join(o.profiles, strings.ReplaceAll(s.row, " ", "-")+".pprof")
		group, inTime := errgroup.WithContext(ctx)
		group.Go(func() error {
			_, err := s.target.measure(inTime, o.self, o.seconds)
			return err
		})
		group.Go(func() error {
			url := fmt.Sprintf("http://%s/debug/pprof/profile?seconds=%.0f", s.target.server.Admin, max(o.seconds, 1))
			return download(inTime, url, file)
		})
		err := group.Wait()
		if err != nil {
			return fmt.Errorf("profile of %s: %w", s.row, err)
		}
		o.progress("go tool pprof %s", file)
	}
	return nil
}

func download(ctx context.Context, url, file string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("GET %s: %s", url, response.Status)
	}
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	return os.WriteFile(file, text, 0o644) //nolint:gosec // a profile holds nothing secret
}
