package sources

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"

	"github.com/open-policy-agent/opa/v1/bundle"

	"github.com/molecule-ai/gatehouse/adapters/opa/check"
)

// DefaultLimits are far beyond what policies need.
var DefaultLimits = check.Limits{Bytes: 32 << 20, Files: 10_000}

// unpack reads the files of a gzipped tar archive, as GNU tar, bsdtar, git archive and opa build write them. It is stricter
// than OPA's reader. That one bounds each file but not their sum, accepts any name, lets a second file of one name replace
// the first, and ignores links and whatever follows the end of the tar.
func unpack(archive []byte, limits check.Limits) (map[string][]byte, error) {
	unzipped, err := gzip.NewReader(bytes.NewReader(archive))
	if err != nil {
		return nil, fmt.Errorf("no gzipped archive: %w", err)
	}
	// Headers and padding count too: an archive of nothing but those can be as large as any.
	const overhead = 1 << 10
	bounded := &io.LimitedReader{R: unzipped, N: limits.Bytes + int64(limits.Files)*overhead + 1}
	whole := &zeroCounter{reader: bounded}
	files, err := readEntries(tar.NewReader(whole), limits)
	if err == nil {
		err = checkEnd(whole)
	}
	switch {
	case bounded.N == 0:
		return nil, tooLarge(limits)
	case err != nil:
		return nil, err
	}
	return files, checkTree(files)
}

func readEntries(entries *tar.Reader, limits check.Limits) (map[string][]byte, error) {
	files := make(map[string][]byte)
	var total int64
	for {
		header, err := entries.Next()
		if errors.Is(err, io.EOF) {
			return files, nil
		}
		if err != nil {
			return nil, fmt.Errorf("no tar archive: %w", err)
		}
		if header.Typeflag == tar.TypeDir {
			continue
		}
		if header.Typeflag == tar.TypeXGlobalHeader {
			err = checkGlobal(header)
			if err != nil {
				return nil, err
			}
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

func tooLarge(limits check.Limits) error {
	return fmt.Errorf("the bundle holds more than %d bytes when it is unpacked", limits.Bytes)
}

// checkGlobal accepts the global header that git archive writes: a comment with the commit. Other programs apply anything else
// in such a header to every file that follows. The library does not, so anything else is refused.
func checkGlobal(header *tar.Header) error {
	for key := range header.PAXRecords {
		if key != "comment" {
			return fmt.Errorf("the bundle has a global header that sets %q, which is not supported", key)
		}
	}
	return nil
}

// checkEnd reads what follows the end of the tar. Only padding may follow: a second tar (from cat a.tar.gz b.tar.gz) would be
// ignored in silence. Reading to the end also verifies the checksum of the compressed data. And the end must be marked: to
// the library a tar that was cut between two files looks whole.
func checkEnd(rest *zeroCounter) error {
	before := rest.zeros
	n, err := io.Copy(io.Discard, rest)
	switch {
	case err != nil:
		return fmt.Errorf("after the end of the bundle's archive: %w", err)
	case int64(rest.zeros) != int64(before)+n:
		return errors.New("the bundle goes on after the end of its archive: was something appended to it?")
	case rest.zeros < endMark:
		return errors.New("the bundle's archive has no end: was it cut?")
	}
	return nil
}

// endMark is the least that a tar ends with: two blocks of zeros.
const endMark = 2 * 512

// zeroCounter counts the zeros with which what was read so far ends.
type zeroCounter struct {
	reader io.Reader
	zeros  int
}

func (z *zeroCounter) Read(p []byte) (int, error) {
	n, err := z.reader.Read(p)
	if rest := len(bytes.TrimRight(p[:n], "\x00")); rest == 0 {
		z.zeros += n
	} else {
		z.zeros = n - rest
	}
	return n, err
}

// safeName refuses everything but regular files below the bundle's root. Gatehouse writes no file by these names. But they say
// where data lies, and other programs may unpack the bundle.
func safeName(header *tar.Header) (string, error) {
	switch header.Typeflag {
	case tar.TypeReg:
	case tar.TypeSymlink, tar.TypeLink:
		return "", fmt.Errorf("the bundle holds %q, which is no regular file but a link to %q; "+
			"tar takes what links point to with --dereference --hard-dereference", header.Name, header.Linkname)
	default:
		return "", fmt.Errorf("the bundle holds %q, which is no regular file (type %q)", header.Name, header.Typeflag)
	}
	name := strings.TrimPrefix(strings.TrimPrefix(header.Name, "./"), "/")
	if !fs.ValidPath(name) || name == "." || strings.ContainsAny(name, "\\\x00") {
		return "", fmt.Errorf("the bundle holds a file %q, whose path leads out of it", header.Name)
	}
	return name, nil
}

// checkTree refuses files that would not be found, or whose place would not be the one that their author means.
func checkTree(files map[string][]byte) error {
	top, isOne := "", len(files) > 0
	data := ""
	for name := range files {
		for folder := path.Dir(name); folder != "."; folder = path.Dir(folder) {
			if _, isFile := files[folder]; isFile {
				return fmt.Errorf("the bundle holds %q as a file and as a folder", folder)
			}
		}
		first, _, isBelow := strings.Cut(name, "/")
		isOne = isOne && isBelow && (top == "" || top == first)
		top = first
		if bundle.IsStructuredDoc(name) {
			data = name
		}
	}
	// git archive --prefix and the archives of code forges put everything below one folder. The folder of a data file is its
	// place in the data document, so that data.enforcement, for example, would not be found.
	if isOne && data != "" {
		return fmt.Errorf("all of the bundle lies in the folder %q, so %s would not be data of its own place; "+
			"make the archive of the folder's contents: git archive without --prefix, or tar -C %s", top, data, top)
	}
	return nil
}
