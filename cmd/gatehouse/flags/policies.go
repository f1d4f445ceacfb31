// Package flags has the flags that several commands share, and what they name: policies, the database, facts, sinks.
package flags

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"strings"
	"time"

	"github.com/alecthomas/kong"

	"github.com/molecule-ai/gatehouse/adapters/opa/check"
	"github.com/molecule-ai/gatehouse/adapters/opa/snapshot"
	"github.com/molecule-ai/gatehouse/adapters/opa/sources"
	"github.com/molecule-ai/gatehouse/internal/rereadfile"
	"github.com/molecule-ai/gatehouse/policies"
)

// EmbeddedName is how the policies of the binary are called in answers, metrics and messages.
const EmbeddedName = "embedded"

// PolicySource say which policies a command works on, and how it gets at them.
type PolicySource struct {
	Policies           string   `help:"Where policies come from: a directory, an OPA bundle (PATH.tar.gz, https://… or oci://registry/repository:tag), or embedded. See docs/bundles.md." placeholder:"SOURCE"`
	PoliciesKey        []string `help:"Public key or certificate (file or PEM) that bundles must be signed with; several while keys are changed." placeholder:"FILE"`
	PoliciesToken      string   `type:"secret" help:"Bearer token of the bundle server; for a registry also user:password. A variable is the better place for it." placeholder:"TOKEN"`
	PoliciesCA         string   `name:"policies-ca" help:"Certificates that the bundle server's may be signed by, beside the system's." placeholder:"FILE" type:"existingfile"`
	PoliciesClientCert string   `help:"Client certificate for the bundle server." placeholder:"FILE" type:"existingfile"`
	PoliciesClientKey  string   `help:"Private key of the client certificate." placeholder:"FILE" type:"existingfile"`
	PoliciesMaxBytes   int64    `help:"Most bytes of policies and data, unpacked." default:"33554432"`
	PoliciesMaxFiles   int      `help:"Most files of policies and data." default:"10000"`
}

// GivenPolicySource are policies that can also be said without a flag: gatehouse check DIR.
type GivenPolicySource struct {
	PolicySource
	Given string `arg:"" optional:"" name:"policies" help:"The policies, from where --policies may be."`
}

// AfterApply takes the argument before a variable or the file, and refuses it beside the flag.
func (g *GivenPolicySource) AfterApply(ctx *kong.Context) error {
	for _, path := range ctx.Path {
		if path.Positional != nil && path.Positional.Name == "policies" && g.Given == "" { // an unset variable of a script
			return errors.New("policies: the argument is empty: leave it out, or write one")
		}
	}
	if g.Given == "" {
		return nil
	}
	for _, path := range ctx.Path {
		if path.Flag != nil && path.Flag.Name == "policies" && !path.Resolved {
			return errors.New("the policies are said twice: as an argument and by --policies")
		}
	}
	g.Policies = g.Given
	return nil
}

func (f PolicySource) IsEmbedded() bool { return f.Policies == "" || f.Policies == EmbeddedName }

func Embedded() snapshot.Source { return snapshot.Source{Name: EmbeddedName, FS: policies.FS} }

// FetchTimeout is patience for a command; serve asks again.
const FetchTimeout = time.Minute

// Source gives the policies of the flags as they are now. What cannot be had is an error of whoever reads it. A key that
// cannot be read is an error also where no signature is looked at: serve would not start with it.
func (f PolicySource) Source() snapshot.Source {
	_, err := f.trust(nil)
	if err != nil {
		return snapshot.Source{Name: sources.Shown(cmp.Or(f.Policies, EmbeddedName)), FS: unreadable{err}}
	}
	if f.IsEmbedded() {
		return Embedded()
	}
	if f.IsDirectory() {
		directory := snapshot.Directory(f.Policies)
		directory.Name = sources.Shown(f.Policies)
		return directory
	}
	ctx, cancel := context.WithTimeout(context.Background(), FetchTimeout)
	defer cancel()
	origin, err := f.Origin(sources.Options{})
	if err != nil {
		return snapshot.Source{Name: sources.Shown(f.Policies), FS: unreadable{err}}
	}
	fetched, err := origin.Fetch(ctx, "")
	if err == nil {
		err = fetched.Refused
	}
	if err != nil {
		return snapshot.Source{Name: origin.Name(), FS: unreadable{err}}
	}
	return fetched.Source
}

func (f PolicySource) IsDirectory() bool {
	isFile := strings.HasPrefix(f.Policies, "file:") || strings.HasSuffix(f.Policies, ".tar.gz") || strings.HasSuffix(f.Policies, ".tgz")
	return !isFile && !strings.Contains(f.Policies, "://")
}

// Origin is where policies that are not embedded come from.
func (f PolicySource) Origin(options sources.Options) (sources.Origin, error) {
	trust, err := f.trust(options.Report)
	if err != nil {
		return nil, err
	}
	options.Trust = trust
	options.Token, options.CAFile = f.PoliciesToken, f.PoliciesCA
	options.CertFile, options.KeyFile = f.PoliciesClientCert, f.PoliciesClientKey
	return sources.Open(f.Policies, options)
}

func (f PolicySource) trust(report rereadfile.Reporter) (sources.Trust, error) {
	keys, err := sources.ReadKeys(f.PoliciesKey, report)
	return sources.Trust{Limits: check.Limits{Bytes: f.PoliciesMaxBytes, Files: f.PoliciesMaxFiles}, Keys: keys}, err
}

// unreadable is a file system whose files give the error for which there are none.
type unreadable struct{ err error }

func (u unreadable) Open(string) (fs.File, error) { return nil, u.err }

// InputSchema describes what policies see. It is the program's and not an author's: other policies see the
// same input.
func InputSchema() []byte { return []byte(policies.InputSchema()) }
