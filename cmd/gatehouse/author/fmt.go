package author

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/format"

	"github.com/molecule-ai/gatehouse/cmd/gatehouse/cli"
	"github.com/molecule-ai/gatehouse/cmd/gatehouse/flags"
)

type Fmt struct {
	Paths []string `arg:"" name:"path" help:"Rego files, and directories of them." type:"path"`
	Write bool     `env:"-" help:"Write what is formatted into the files." short:"w" xor:"mode"`
	List  bool     `env:"-" help:"Name the files that are not formatted, and exit with 1 if there are any." short:"l" xor:"mode"`
}

// Run formats Rego with OPA's formatter. Without a flag it prints the formatted text and changes nothing.
func (c *Fmt) Run(to cli.Streams) error {
	files, err := regoFiles(c.Paths)
	if err != nil {
		return err
	}
	unformatted := false
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		formatted, err := format.SourceWithOpts(name, text, format.Opts{RegoVersion: ast.RegoV1})
		if err != nil {
			flags.PrintProblems(to.Err, flags.DiagnoseFile(err))
			return cli.ErrSaid
		}
		same := bytes.Equal(text, formatted)
		unformatted = unformatted || !same
		switch {
		case c.Write && !same:
			err = replaceFile(name, formatted)
		case c.List && !same:
			_, err = fmt.Fprintln(to.Out, name)
		case !c.Write && !c.List:
			_, err = to.Out.Write(formatted)
		}
		if err != nil {
			return err
		}
	}
	if c.List && unformatted {
		return cli.ErrSaid
	}
	return nil
}

// replaceFile writes a file anew, with the rights that it has.
func replaceFile(name string, text []byte) error {
	info, err := os.Stat(name)
	if err != nil {
		return err
	}
	return os.WriteFile(name, text, info.Mode().Perm())
}

// regoFiles are the files that are named, and those below the directories that are.
func regoFiles(paths []string) ([]string, error) {
	var files []string
	for _, path := range paths {
		err := filepath.WalkDir(path, func(name string, entry fs.DirEntry, err error) error {
			switch {
			case err != nil:
				return err
			case entry.IsDir() && name != path && entry.Name()[0] == '.':
				return fs.SkipDir
			case !entry.IsDir() && (name == path || filepath.Ext(name) == ".rego"):
				files = append(files, name)
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	if len(files) == 0 {
		return nil, errors.New("no Rego files")
	}
	return files, nil
}
