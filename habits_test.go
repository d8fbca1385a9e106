package lahja_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// leakCheck is a TestMain that fails if a goroutine is left.
var leakCheck = regexp.MustCompile(
	`(?s)func TestMain\(m \*testing\.M\) \{.*?\b((leak|transporttest|lahjatest|roletest)\.)?Main\(m\b`)

// Each package with tests fails when they leave a goroutine behind.
func TestEveryPackageLooksForLeaks(t *testing.T) {
	tests := map[string]string{} // by folder
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && path != "." {
			if _, err := os.Stat(filepath.Join(path, "go.mod")); err == nil {
				return fs.SkipDir // a module of its own
			}
		}
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		src, err := os.ReadFile(path)
		tests[filepath.Dir(path)] += string(src)
		return err
	})
	if err != nil || len(tests) < 10 {
		t.Fatalf("%v; %d folders with tests", err, len(tests))
	}
	for dir, src := range tests {
		if !leakCheck.MatchString(src) {
			t.Errorf("%s: no TestMain that looks for goroutines; see internal/leak", dir)
		}
	}
}

func TestLeakCheckPattern(t *testing.T) {
	for src, want := range map[string]bool{
		"func TestMain(m *testing.M) { leak.Main(m) }":                       true,
		"func TestMain(m *testing.M) {\n\tplay()\n\tlahjatest.Main(m, r)\n}": true,
		"func TestMain(m *testing.M) { os.Exit(m.Run()) }":                   false,
		"func TestMainPackage(t *testing.T) { leak.Main(m) }":                false,
	} {
		if leakCheck.MatchString(src) != want {
			t.Errorf("it says %t of %s", !want, src)
		}
	}
}
