package scale

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/molecule-ai/gatehouse/bench/rig"
)

// pool are replicas behind one address of nginx.
type pool struct {
	listen   string
	replicas []string // addresses
}

// nginxConfig is for a process in the foreground that writes nowhere but into folder. The numbers of requests that a
// connection may carry are high for a benchmark's sake: its load generator counts a closed connection as an error.
func nginxConfig(folder string, pools []pool) string {
	var b strings.Builder
	_, _ = fmt.Fprintf(&b, `daemon off;
worker_processes 1;
pid %[1]s/nginx.pid;
error_log stderr warn;

events {
    worker_connections 1024;
}

http {
    access_log off;
    keepalive_requests 1000000000;
    client_body_temp_path %[1]s/body;
    proxy_temp_path %[1]s/proxy;
    fastcgi_temp_path %[1]s/fastcgi;
    uwsgi_temp_path %[1]s/uwsgi;
    scgi_temp_path %[1]s/scgi;
`, folder)
	for _, p := range pools {
		_, _ = fmt.Fprintf(&b, "\n%s", p.config())
	}
	_, _ = fmt.Fprintln(&b, "}")
	return b.String()
}

// config is what a pool is in nginx's words, and as docs/scale.md shows it.
func (p pool) config() string {
	name := fmt.Sprintf("gatehouse_%d", len(p.replicas))
	var servers strings.Builder
	for _, address := range p.replicas {
		_, _ = fmt.Fprintf(&servers, "        server %s;\n", address)
	}
	return fmt.Sprintf(`    upstream %s {
%s        keepalive 64;
        keepalive_requests 1000000000;
    }
    server {
        listen %s;
        location / {
            proxy_pass http://%[1]s;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
        }
    }
`, name, servers.String(), p.listen)
}

// startNginx serves a pool of each size. The first one's replicas say when it is ready.
func startNginx(ctx context.Context, r *rig.Rig, program string, replicas []*rig.Process) (*rig.Process, []pool, error) {
	var pools []pool
	for _, size := range poolSizes()[1:] {
		address, err := rig.FreeAddress(ctx)
		if err != nil {
			return nil, nil, err
		}
		pools = append(pools, newPool(address, replicas[:size]))
	}
	// Not in the rig's folder: workers of a root's nginx run as another user, who must get into it.
	folder, err := os.MkdirTemp("", "gatehouse-nginx-*")
	if err != nil {
		return nil, nil, err
	}
	r.OnClose(func() error { return os.RemoveAll(folder) })
	err = os.Chmod(folder, 0o711) //nolint:gosec // see above
	if err != nil {
		return nil, nil, err
	}
	config := filepath.Join(folder, "nginx.conf")
	nginx, err := r.Start(ctx, "nginx", "/readyz", func(address string) []string {
		pools = append([]pool{newPool(address, replicas[:1])}, pools...)
		err = os.WriteFile(config, []byte(nginxConfig(folder, pools)), 0o600)
		return []string{program, "-p", folder, "-c", config, "-e", "stderr"}
	})
	if err != nil {
		return nil, nil, fmt.Errorf("nginx with the configuration %s: %w", config, err)
	}
	return nginx, pools, nil
}

func newPool(address string, replicas []*rig.Process) pool {
	p := pool{listen: address}
	for _, replica := range replicas {
		p.replicas = append(p.replicas, replica.Address)
	}
	return p
}
