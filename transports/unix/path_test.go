//go:build linux || darwin || dragonfly || freebsd || netbsd || openbsd

package unix_test

import (
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/lahja-go/lahja/transports/unix"
)

func TestPathLength(t *testing.T) {
	directory := filepath.Dir(freePath(t))
	fill := func(length int) string {
		return directory + "/" + strings.Repeat("s", length-len(directory)-1)
	}
	longest := unix.New(fill(unix.MaxPath))
	connect(t, longest, listen(t, longest))
	tooLong := unix.New(fill(unix.MaxPath + 1))
	limit, actual := strconv.Itoa(unix.MaxPath), strconv.Itoa(unix.MaxPath+1)
	refuses(t, tooLong, limit, actual)
	if _, err := tooLong.Dial(t.Context()); err == nil || !strings.Contains(err.Error(), limit) {
		t.Errorf("Dial: %v, want the limit in it", err)
	}
	if runtime.GOOS == "linux" && unix.MaxPath != 107 {
		t.Errorf("the limit is %d, want 107", unix.MaxPath)
	}
}

func TestUnusablePaths(t *testing.T) {
	for _, path := range []string{"", "@abstract", "\x00abstract", "s\x00s"} {
		t.Run(strconv.Quote(path), func(t *testing.T) {
			place := unix.New(path)
			refuses(t, place, "socket")
			if c, err := place.Dial(t.Context()); err == nil {
				c.Close()
				t.Error("Dial succeeded")
			}
		})
	}
}

func TestRelativePath(t *testing.T) {
	directory := filepath.Dir(freePath(t))
	t.Chdir(directory)
	place := unix.New("s")
	l := listen(t, place)
	connect(t, place, l)
	t.Chdir("/")
	l.Close()
	if left, err := os.ReadDir(directory); err != nil || len(left) > 0 {
		t.Errorf("Close from another working directory left %v, %v", left, err)
	}
}

// Behind a symbolic link ".." is what is above the place that the link leads to.
func TestPathThroughLink(t *testing.T) {
	directory := filepath.Dir(freePath(t))
	if err := os.MkdirAll(directory+"/a/b", 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("a/b", directory+"/link"); err != nil {
		t.Fatal(err)
	}
	t.Chdir(directory + "/link") // the working directory is known by this name
	for _, path := range []string{directory + "/link/../s", "../s"} {
		place := unix.New(path)
		l := listen(t, place)
		connect(t, place, l)
		if _, err := os.Lstat(directory + "/a/s"); err != nil {
			t.Errorf("%s: %v", path, err)
		}
		l.Close()
		if left, err := os.ReadDir(directory + "/a"); err != nil || len(left) != 1 {
			t.Errorf("%s: Close left %v, %v", path, left, err)
		}
	}
	if left, err := os.ReadDir(directory); err != nil || len(left) != 2 {
		t.Errorf("%v, %v, are where nobody wanted them", left, err)
	}
}
