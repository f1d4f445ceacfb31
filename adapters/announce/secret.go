package announce

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/molecule-ai/gatehouse/internal/rereadfile"
)

const (
	inVariable = "env:"
	inFile     = "file:"
)

func (s Secret) isReference() bool {
	return strings.HasPrefix(string(s), inVariable) || strings.HasPrefix(string(s), inFile)
}

// resolve gives the text itself. files has what is in those that are named.
func (s Secret) resolve(files map[string][]byte) (Secret, error) {
	if name, ok := strings.CutPrefix(string(s), inVariable); ok {
		text, set := os.LookupEnv(name)
		if !set {
			return "", fmt.Errorf("the variable %s is not set", name)
		}
		return Secret(text), nil
	}
	if path, ok := strings.CutPrefix(string(s), inFile); ok {
		text, err := rereadfile.Text(files[path])
		if err != nil {
			return "", fmt.Errorf("%s: %w", path, err)
		}
		return Secret(text), nil
	}
	return s, nil
}

// watchSettings gives what use makes of a sink's configuration, with what its references stand for at the time: a secret in
// a file is the one that is there now.
func watchSettings[T any](
	c SinkConfig, report rereadfile.Reporter, use func(resolved SinkConfig) (T, error),
) (*rereadfile.File[T], error) {
	var paths []string
	settings := make(map[string]string) // by path
	for i, secret := range append([]Secret{c.URL, c.Proxy}, c.Secrets...) {
		if path, ok := strings.CutPrefix(string(secret), inFile); ok && !slices.Contains(paths, path) {
			paths = append(paths, path)
			settings[path] = settingAt(i)
		}
	}
	file, err := rereadfile.Open("sinks."+c.Name, report, func(contents [][]byte) (T, error) {
		files := make(map[string][]byte, len(paths))
		for i, path := range paths {
			files[path] = contents[i]
		}
		resolved, err := c.resolve(files)
		if err != nil {
			var none T
			return none, err
		}
		return use(resolved)
	}, paths...)
	var unreadable *fs.PathError
	if errors.As(err, &unreadable) && settings[unreadable.Path] != "" {
		err = fmt.Errorf("%s: %w", settings[unreadable.Path], err)
	}
	return file, err
}

// settingAt is the name of the setting at a place of url, proxy and secrets.
func settingAt(i int) string {
	switch i {
	case 0:
		return "url"
	case 1:
		return "proxy"
	default:
		return fmt.Sprintf("secrets[%d]", i-2)
	}
}

// resolve replaces references by what they stand for, and checks that too.
func (c SinkConfig) resolve(files map[string][]byte) (SinkConfig, error) {
	var err error
	c.URL, err = c.URL.resolve(files)
	if err == nil {
		err = c.checkURL(string(c.URL))
	}
	if err != nil {
		return SinkConfig{}, fmt.Errorf("url: %w", err)
	}
	c.Proxy, err = c.Proxy.resolve(files)
	if err == nil {
		_, err = parseProxy(string(c.Proxy))
	}
	if err != nil {
		return SinkConfig{}, fmt.Errorf("proxy: %w", err)
	}
	c.Secrets = slices.Clone(c.Secrets)
	for i, secret := range c.Secrets {
		c.Secrets[i], err = secret.resolve(files)
		if err == nil {
			err = checkSigningSecret(string(c.Secrets[i]))
		}
		if err != nil {
			return SinkConfig{}, fmt.Errorf("secrets[%d]: %w", i, err)
		}
	}
	return c, nil
}
