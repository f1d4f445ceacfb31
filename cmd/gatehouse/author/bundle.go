package author

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"strings"
	"time"

	"github.com/molecule-ai/gatehouse/adapters/opa"
	"github.com/molecule-ai/gatehouse/adapters/opa/check"
	"github.com/molecule-ai/gatehouse/adapters/opa/sources"
	"github.com/molecule-ai/gatehouse/cmd/gatehouse/cli"
	"github.com/molecule-ai/gatehouse/cmd/gatehouse/flags"
	policytests "github.com/molecule-ai/gatehouse/policies_test"
)

// Bundle makes OPA bundles and looks into them.
type Bundle struct {
	Build   bundleBuildCommand   `cmd:"" help:"Make a bundle of policies that pass their checks."`
	Sign    bundleSignCommand    `cmd:"" help:"Sign a bundle. The signature takes the place of an earlier one."`
	Verify  bundleVerifyCommand  `cmd:"" help:"Check a bundle as serve would: signature, limits, policies, tests."`
	Inspect bundleInspectCommand `cmd:"" help:"Say what a bundle holds, verified or not."`
}

type bundleBuildCommand struct {
	Policies   string `help:"Directory of policies, or embedded." placeholder:"DIR"`
	OutputFile string `arg:"" help:"The bundle to write." placeholder:"FILE"`
	Revision   string `env:"-" help:"Revision to write into the bundle; by default the revision that decisions name." placeholder:"TEXT"`
	WithTests  bool   `help:"Put the tests in too: servers run them before they load the bundle."`
	SigningKey string `help:"Private key that signs it (file or PEM)." placeholder:"FILE"`
}

// Run checks, builds and signs.
func (c *bundleBuildCommand) Run(ctx context.Context, to cli.Streams) error {
	from := flags.PolicySource{Policies: c.Policies}
	if !from.IsEmbedded() && !from.IsDirectory() {
		return errors.New("--policies: a bundle is made of a directory")
	}
	files, err := c.files(from)
	if err != nil {
		return err
	}
	rules, err := from.Load(ctx, to)
	if err != nil {
		return err
	}
	pack := sources.Package{Files: files, Revision: cmp.Or(c.Revision, rules.Revision()), BuiltAt: time.Now()}
	if c.SigningKey != "" {
		key, err := sources.ReadSigningKey(c.SigningKey)
		if err != nil {
			return err
		}
		pack.Key = &key
	}
	var archive bytes.Buffer
	err = pack.Build(&archive)
	if err != nil {
		return err
	}
	err = c.check(ctx, archive.Bytes())
	if err != nil {
		return err
	}
	err = writeBundle(c.OutputFile, archive.Bytes())
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(to.Out, "%s: revision %s, %d files%s\n", c.OutputFile, pack.Revision, len(files), signedBy(pack.Key))
	return err
}

// check loads the bundle as serve will, so that what cannot be loaded is not written.
func (c *bundleBuildCommand) check(ctx context.Context, archive []byte) error {
	source, err := sources.Trust{Limits: sources.DefaultLimits}.ReadBundle(c.OutputFile, archive)
	if err == nil {
		err = opa.NewEngine(flags.InputSchema(), time.Now, opa.Options{}).Load(ctx, source)
	}
	if err != nil {
		return fmt.Errorf("the bundle could not be loaded: %w", err)
	}
	return nil
}

func signedBy(key *sources.SigningKey) string {
	if key == nil {
		return ", unsigned"
	}
	return ", signed by " + key.Fingerprint
}

func (c *bundleBuildCommand) files(from flags.PolicySource) (map[string][]byte, error) {
	source := from.Source()
	read, err := check.Read(source.FS, sources.DefaultLimits)
	if err != nil {
		return nil, fmt.Errorf("policies from %s: %w", source.Name, err)
	}
	if !c.WithTests {
		read.Tests, read.Cases = nil, nil
		return read.All(), nil
	}
	files := read.All()
	if from.IsEmbedded() {
		tests, err := check.Read(policytests.FS, sources.DefaultLimits)
		if err != nil {
			return nil, err
		}
		maps.Copy(files, tests.All())
	}
	return files, nil
}

type bundleSignCommand struct {
	Bundle     string `arg:"" help:"The bundle." type:"existingfile"`
	SigningKey string `help:"Private key that signs it (file or PEM)." placeholder:"FILE" required:""`
	OutputFile string `env:"-" help:"Where the signed bundle is written; by default over the bundle." placeholder:"FILE"`
}

// Run signs.
func (c *bundleSignCommand) Run(to cli.Streams) error {
	key, err := sources.ReadSigningKey(c.SigningKey)
	if err != nil {
		return err
	}
	archive, err := os.ReadFile(c.Bundle)
	if err != nil {
		return err
	}
	var signed bytes.Buffer
	err = sources.Trust{Limits: sources.DefaultLimits}.Sign(&signed, archive, key, time.Now())
	if err != nil {
		return fmt.Errorf("%s: %w", c.Bundle, err)
	}
	target := cmp.Or(c.OutputFile, c.Bundle)
	err = writeBundle(target, signed.Bytes())
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(to.Out, "%s%s\n", target, signedBy(&key))
	return err
}

type bundleVerifyCommand struct {
	flags.PolicySource
}

// Run loads the policies of the flags into an engine of its own.
func (c *bundleVerifyCommand) Run(ctx context.Context, to cli.Streams) error {
	if c.IsEmbedded() || c.IsDirectory() {
		return errors.New("--policies must name a bundle")
	}
	engine := opa.NewEngine(flags.InputSchema(), time.Now, opa.Options{})
	source := c.Source()
	err := engine.Load(ctx, source)
	if err != nil {
		return flags.Complain(to, source, err)
	}
	snapshot := engine.Status().Snapshot
	signature := "its signature was not looked at (no --policies-key)"
	if source.Bundle.SignedBy != "" {
		signature = "signed by " + source.Bundle.SignedBy
	}
	_, err = fmt.Fprintf(to.Out, "%s: good; %d rules for %s, revision %s, %s\n", source.Name, len(snapshot.Rules()),
		strings.Join(snapshot.Hooks(), ", "), snapshot.Revision(), signature)
	return err
}

type bundleInspectCommand struct {
	Bundle string `arg:"" help:"The bundle." type:"existingfile"`
	Output string `help:"Form of the answer." enum:"text,json" default:"text"`
}

// Run prints what the bundle says of itself.
func (c *bundleInspectCommand) Run(to cli.Streams) error {
	archive, err := os.ReadFile(c.Bundle)
	if err != nil {
		return err
	}
	seen, err := sources.Trust{Limits: sources.DefaultLimits}.Inspect(archive)
	if err != nil {
		return fmt.Errorf("%s: %w", c.Bundle, err)
	}
	if c.Output == "json" {
		return cli.PrintJSON(to.Out, seen)
	}
	return writeInspection(to.Out, seen)
}

func writeInspection(w io.Writer, seen sources.Inspection) error {
	built, signature := "not said", "none"
	if seen.BuiltAt != nil {
		built = seen.BuiltAt.UTC().Format(time.RFC3339)
	}
	if seen.Signed {
		signature = "by key " + seen.Key + ", not verified"
	}
	_, _ = fmt.Fprintf(w, "revision:  %s\nbuilt at:  %s\nsignature: %s\n", seen.Revision, built, signature)
	for _, file := range seen.Files {
		_, _ = fmt.Fprintf(w, "%9d  %s\n", file.Size, file.Name)
	}
	return nil
}

// writeBundle puts the bundle in place at once: a server may be looking at it.
func writeBundle(path string, archive []byte) error {
	temporary := path + ".new"
	err := os.WriteFile(temporary, archive, 0o644) //nolint:gosec // policies are no secret, and a server runs as somebody else
	if err != nil {
		return err
	}
	err = os.Rename(temporary, path)
	if err != nil {
		return errors.Join(err, os.Remove(temporary))
	}
	return nil
}
