package testenv

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// tool is a set of programs that tests need and a machine may lack.
type tool struct {
	// programs share one folder, so that their versions match.
	programs []string
	// folders is a glob of the places outside PATH where Debian puts them, one
	// folder a version; empty when PATH is the only place.
	folders string
	// debian is the package that brings them.
	debian string
	// otherwise says what else the reader can do than install that package.
	otherwise string
}

// finder looks tools up and, when it may, installs them. The fields are there
// so that a test can play a machine that has nothing.
type finder struct {
	lookPath func(program string) (string, error)
	glob     func(pattern string) ([]string, error)
	// install is nil where nothing may be installed. It leaves the machine
	// alone when present says that somebody else was faster.
	install func(ctx context.Context, debian string, present func() bool) error
}

func systemFinder() finder {
	return finder{lookPath: exec.LookPath, glob: filepath.Glob, install: systemInstall()}
}

// find returns the folder with the tool's programs.
func (f finder) find(ctx context.Context, wanted tool) (string, error) {
	folder, found := f.lookUp(wanted)
	if found {
		return folder, nil
	}
	if f.install == nil {
		return "", missing(wanted)
	}
	present := func() bool {
		_, ok := f.lookUp(wanted)
		return ok
	}
	err := f.install(ctx, wanted.debian, present)
	if err != nil {
		return "", errors.Join(missing(wanted), err)
	}
	folder, found = f.lookUp(wanted)
	if !found {
		return "", missing(wanted)
	}
	return folder, nil
}

func (f finder) lookUp(wanted tool) (string, bool) {
	var folders []string
	inPath, err := f.lookPath(wanted.programs[0])
	if err == nil {
		folders = append(folders, filepath.Dir(inPath))
	}
	if wanted.folders != "" {
		// Glob fails on a malformed pattern only, and ours are constants.
		installed, _ := f.glob(wanted.folders)
		folders = append(folders, newestFirst(installed)...)
	}
	for _, folder := range folders {
		if hasPrograms(folder, wanted.programs) {
			return folder, true
		}
	}
	return "", false
}

func hasPrograms(folder string, programs []string) bool {
	for _, program := range programs {
		info, err := os.Stat(filepath.Join(folder, program))
		if err != nil || info.IsDir() || info.Mode()&0o111 == 0 {
			return false
		}
	}
	return true
}

// newestFirst orders folders of the form …/VERSION/bin. As text, 9.6 would be
// newer than 15.
func newestFirst(folders []string) []string {
	version := func(folder string) float64 {
		number, err := strconv.ParseFloat(filepath.Base(filepath.Dir(folder)), 64)
		if err != nil {
			return 0
		}
		return number
	}
	return slices.SortedFunc(slices.Values(folders), func(a, b string) int {
		return cmp.Compare(version(b), version(a))
	})
}

// missing is the sentence for the person whose machine lacks a tool.
func missing(wanted tool) error {
	place := "PATH"
	if wanted.folders != "" {
		place += " or " + wanted.folders
	}
	advice := fmt.Sprintf("install it (Debian: apt-get install %s)", wanted.debian)
	if wanted.otherwise != "" {
		advice += " or " + wanted.otherwise
	}
	return fmt.Errorf("the tests need %s, which is not in %s: %s",
		strings.Join(wanted.programs, " with "), place, advice)
}

// Program returns the path of a program, and installs the Debian package that brings it when it may.
func Program(ctx context.Context, name, debian string) (string, error) {
	return systemFinder().program(ctx, name, debian)
}

// Promtool returns the path of Prometheus' promtool, which it installs when it may.
func Promtool(ctx context.Context) (string, error) { return Program(ctx, "promtool", "prometheus") }

func (f finder) program(ctx context.Context, name, debian string) (string, error) {
	// Debian puts some servers where only root's PATH leads.
	folder, err := f.find(ctx, tool{programs: []string{name}, folders: "/usr/sbin", debian: debian})
	if err != nil {
		return "", err
	}
	return filepath.Join(folder, name), nil
}
