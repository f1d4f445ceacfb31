// Package sources brings policies to the engine: from a directory, or as an OPA bundle from a file, an HTTP
// server or an OCI registry.
//
// Open gives an Origin, which says what it has now. A Follower asks it again and again, and loads changed policies into the
// engine. Bundles have OPA's format and signatures, and OPA's reader reads them. This package adds what OPA lacks: a bound on the
// whole archive before it is unpacked, an order of signed bundles, and keys that are known by their fingerprint and not by the
// id that a bundle names.
//
// OPA's own downloader (v1/download) was tried in the place of the HTTP origin. It made the file longer, and lost what is
// promised: it forgets the ETag of a bundle that is refused, and so fetches it again with each poll; it asks for delta
// bundles; it gives neither the header Retry-After nor a bound on the sum of the files.
package sources

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/molecule-ai/gatehouse/adapters/opa/check"
	"github.com/molecule-ai/gatehouse/adapters/opa/snapshot"
	"github.com/molecule-ai/gatehouse/internal/rereadfile"
)

// Origin is a place that has policies, and may have others later.
type Origin interface {
	// Name is the name of the place for people. It holds no secret.
	Name() string
	// Fetch asks what is there now. tag is that of an earlier answer, or empty. If it names what is there, the answer only says
	// so. An error says that the place could not be asked.
	Fetch(ctx context.Context, tag string) (Fetched, error)
	// Poll is how long to wait from one Fetch to the next.
	Poll() time.Duration

	keys() Keys                              // that its bundles must be signed with
	open(tag string, archive []byte) Fetched // reads a bundle of it
}

// Fetched is what an Origin has.
type Fetched struct {
	Tag       string // identifies the content
	Unchanged bool   // Tag is the one that was given; all else is empty
	Source    snapshot.Source
	Refused   error  // why the content cannot be loaded; Source is then empty
	Archive   []byte // the bundle as it came
	AskAgain  bool   // the place answers only when there is something new
}

// Options say how an Origin is asked.
type Options struct {
	Trust

	PollEvery time.Duration // 0: a second for files and folders, half a minute for servers
	LongPoll  time.Duration // how long an HTTP server may hold an answer back; 0 asks for none
	Token     string        // bearer token of a server; for a registry also user:password
	CAFile    string        // who signs the server's certificate, beside or instead of the system's
	CertFile  string        // client certificate
	KeyFile   string        // and its key

	Report rereadfile.Reporter // hears of certificates that change; nil for nobody
}

const (
	pollFiles   = time.Second
	pollServers = 30 * time.Second
)

// Open gives the origin that a specification names: https://…, oci://registry/repository:tag, file:PATH or
// PATH.tar.gz of a bundle, or else a directory. It does not ask it yet.
func Open(specification string, options Options) (Origin, error) {
	if options.Limits == (check.Limits{}) {
		options.Limits = DefaultLimits
	}
	scheme, rest, _ := strings.Cut(specification, "://")
	switch {
	case scheme == "http" || scheme == "https":
		return newHTTP(specification, options)
	case scheme == "oci":
		return newOCI(specification, rest, options)
	case rest != "":
		return nil, fmt.Errorf("policies from %s: the scheme is none of https, http, oci and file", scheme)
	}
	path, isFile := strings.CutPrefix(specification, "file:")
	local := newPlace(path, options, pollFiles)
	if isFile || strings.HasSuffix(path, ".tar.gz") || strings.HasSuffix(path, ".tgz") {
		return &bundleFile{local}, nil
	}
	if specification == "" {
		return nil, errors.New("no source of policies is named")
	}
	if !options.Keys.None() {
		return nil, fmt.Errorf("policies from %s: a directory is not signed, and a key is configured; use a bundle", specification)
	}
	return &directory{local}, nil
}

// Once fetches what origin has and gives it as a source.
func Once(ctx context.Context, origin Origin) (snapshot.Source, error) {
	fetched, err := origin.Fetch(ctx, "")
	if err == nil {
		err = fetched.Refused
	}
	if err != nil {
		return snapshot.Source{}, fmt.Errorf("policies from %s: %w", origin.Name(), err)
	}
	return fetched.Source, nil
}

// place is what all origins have.
type place struct {
	name    string
	options Options
}

func newPlace(name string, options Options, poll time.Duration) place {
	options.PollEvery = cmp.Or(options.PollEvery, poll)
	return place{name, options}
}

func (p *place) Name() string        { return p.name }
func (p *place) Poll() time.Duration { return p.options.PollEvery }
func (p *place) keys() Keys          { return p.options.Keys }

// read reads a bundle, but at most one byte more than the limit. So a bundle that is too large has a digest too.
func (p *place) read(from io.Reader) ([]byte, error) {
	return io.ReadAll(io.LimitReader(from, p.options.Limits.Bytes+1))
}

// open unpacks a bundle. If it is refused, the answer says why.
func (p *place) open(tag string, archive []byte) Fetched {
	if int64(len(archive)) > p.options.Limits.Bytes {
		return Fetched{Tag: tag, Refused: tooLarge(p.options.Limits)}
	}
	source, err := p.options.ReadBundle(p.name, archive)
	return Fetched{Tag: tag, Source: source, Refused: err, Archive: archive}
}

func digestOf(content []byte) string {
	sum := sha256.Sum256(content)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// secretParts are what may be secret in a specification of an origin, even in a wrong one: everything before an @, and a query.
var secretParts = regexp.MustCompile(`(/|^)[^/@]*@|\?.*$`)

// Shown is a specification of an origin as messages and logs may show it.
func Shown(specification string) string {
	return secretParts.ReplaceAllString(specification, "$1")
}

// redacted is an address without what may be secret.
func redacted(address *url.URL) string {
	shown := *address
	shown.User, shown.RawQuery, shown.Fragment = nil, "", ""
	return shown.String()
}
