package check

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
)

// maxHops is how many links one name may go through, as on Linux.
const maxHops = 40

// follow gives the place that a link leads to. It follows the links on the way one by one, and refuses one that leads out of
// the tree. Opening the name would follow that one too.
func follow(fsys fs.FS, name string) (string, fs.FileInfo, error) {
	at, hops := ".", 0
	rest := strings.Split(name, "/")
	for len(rest) > 0 {
		part := rest[0]
		rest = rest[1:]
		if part == ".." {
			if at == "." {
				return "", nil, errors.New("is a link that leads out of the folder of policies")
			}
			at = path.Dir(at)
			continue
		}
		next := path.Join(at, part)
		info, err := fs.Lstat(fsys, next)
		if errors.Is(err, fs.ErrNotExist) {
			return "", nil, fmt.Errorf("is a link that leads nowhere: there is no %s", next)
		}
		if err != nil {
			return "", nil, fmt.Errorf("is a link that cannot be followed: %w", err)
		}
		if info.Mode()&fs.ModeSymlink == 0 {
			at = next
			continue
		}
		hops++
		if hops > maxHops {
			return "", nil, errors.New("is a link that leads round in a circle")
		}
		target, err := fs.ReadLink(fsys, next)
		if err != nil {
			return "", nil, fmt.Errorf("is a link that cannot be followed: %w", err)
		}
		if path.IsAbs(target) {
			return "", nil, fmt.Errorf("is a link to %s: links must be relative, and stay in the folder of policies", target)
		}
		rest = append(strings.Split(target, "/"), rest...)
	}
	info, err := fs.Lstat(fsys, at)
	if err != nil {
		return "", nil, fmt.Errorf("is a link that cannot be followed: %w", err)
	}
	return at, info, nil
}
