package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/lahja-go/lahja/examples/internal/role"
)

// list returns the regular files in and below dir, sorted by path, byte by byte. How many
// directories could not be read it tells too, after it has complained of them.
func list(dir string) (paths []string, failed int) {
	for pending := []string{dir}; len(pending) > 0; {
		last := len(pending) - 1
		dir, pending = pending[last], pending[:last]
		entries, err := os.ReadDir(dir) // those before an error count
		if err != nil {
			role.Say(printable(dir) + ": " + reason(err))
			failed++
		}
		if !os.IsPathSeparator(dir[len(dir)-1]) {
			dir += string(os.PathSeparator)
		}
		for _, entry := range entries {
			switch path := dir + entry.Name(); {
			case entry.IsDir():
				pending = append(pending, path)
			case entry.Type().IsRegular():
				paths = append(paths, path)
			}
		}
	}
	slices.Sort(paths)
	return paths, failed
}

var escaper = strings.NewReplacer(`\`, `\\`, "\n", `\n`, "\r", `\r`)

// line is how GNU sha256sum writes the digest of a file: a backslash at the front says that some
// characters of the path are escaped, which would otherwise break the line.
func line(digest []byte, path string) string {
	escaped, mark := escaper.Replace(path), ""
	if escaped != path {
		mark = `\`
	}
	return fmt.Sprintf("%s%x  %s\n", mark, digest, escaped)
}

// reason is what an error says apart from the path.
func reason(err error) string {
	var failed *fs.PathError
	if errors.As(err, &failed) {
		err = failed.Err
	}
	return err.Error()
}

// printable returns path as it can stand in a message, quoted if it could not be read otherwise.
func printable(path string) string {
	if quoted := strconv.Quote(path); quoted != `"`+path+`"` {
		return quoted
	}
	return path
}
