package lahja_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Every test that docs/guarantees.md names is there, and every promise names one.
func TestGuaranteesNameTests(t *testing.T) {
	text, err := os.ReadFile("docs/guarantees.md")
	if err != nil {
		t.Fatal(err)
	}
	there := testNames(t)
	sections := strings.Split(string(text), "\n## ")[1:]
	if len(sections) != 12 {
		t.Errorf("%d sections, where 11 promises and Stats are due", len(sections))
	}
	for _, section := range sections {
		title, _, _ := strings.Cut(section, "\n")
		named := regexp.MustCompile("`(Test[A-Za-z]+)`").FindAllStringSubmatch(section, -1)
		if len(named) == 0 {
			t.Errorf("%q names no test", title)
		}
		for _, name := range named {
			if !there[name[1]] {
				t.Errorf("%q names %s, which is not there", title, name[1])
			}
		}
	}
}

// testNames are the tests of all packages.
func testNames(t *testing.T) map[string]bool {
	names := map[string]bool{}
	err := filepath.WalkDir(".", func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		for _, m := range regexp.MustCompile(`(?m)^func (Test\w+)\(`).FindAllSubmatch(text, -1) {
			names[string(m[1])] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}
