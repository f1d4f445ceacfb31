package sources

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"

	"gatehouse/adapters/opa"
)

// DefaultLimits are far beyond what policies need.
var DefaultLimits = opa.Limits{Bytes: 32 << 20, Files: 10_000}

// unpack reads the files of a gzipped tar archive. It is stricter than OPA's reader, which bounds each file
// but not their sum, takes names as they are, and lets a second file of one name replace the first.
func unpack(archive []byte, limits opa.Limits) (map[string][]byte, error) {
	unzipped, err := gzip.NewReader(bytes.NewReader(archive))
	if err != nil {
		return nil, fmt.Errorf("no gzipped archive: %w", err)
	}
	// Headers and padding count too: an archive of nothing but those can be as large as any.
	const overhead = 1 << 10
	bounded := &io.LimitedReader{R: unzipped, N: limits.Bytes + int64(limits.Files)*overhead + 1}
	entries := tar.NewReader(bounded)
	files := make(map[string][]byte)
	var total int64
	for {
		header, err := entries.Next()
		if bounded.N == 0 {
			return nil, tooLarge(limits)
		}
		if errors.Is(err, io.EOF) {
			return files, nil
		}
		if err != nil {
			return nil, fmt.Errorf("no tar archive: %w", err)
		}
		if header.Typeflag == tar.TypeDir {
			continue
		}
		name, err := safeName(header)
		if err != nil {
			return nil, err
		}
		total += header.Size
		switch _, seen := files[name]; {
		case seen:
			return nil, fmt.Errorf("the bundle holds %q twice", name)
		case len(files) == limits.Files:
			return nil, fmt.Errorf("the bundle holds more than %d files", limits.Files)
		case total > limits.Bytes:
			return nil, tooLarge(limits)
		}
		files[name], err = io.ReadAll(entries)
		if err != nil {
			return nil, fmt.Errorf("reading %q of the bundle: %w", name, err)
		}
	}
}

func tooLarge(limits opa.Limits) error {
	return fmt.Errorf("the bundle holds more than %d bytes when it is unpacked", limits.Bytes)
}

// safeName refuses all but regular files below the bundle's root. Nothing is ever written by these names, but
// they say where data lies, and whoever unpacks the bundle elsewhere should be as safe.
func safeName(header *tar.Header) (string, error) {
	if header.Typeflag != tar.TypeReg {
		return "", fmt.Errorf("the bundle holds %q, which is no regular file", header.Name)
	}
	name := strings.TrimPrefix(strings.TrimPrefix(header.Name, "./"), "/")
	if !fs.ValidPath(name) || strings.ContainsAny(name, "\\\x00") {
		return "", fmt.Errorf("the bundle holds a file %q, whose path leads out of it", header.Name)
	}
	return name, nil
}
