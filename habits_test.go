package lahja_test

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// The page on architecture has every room.
func TestArchitectureHasEveryPackage(t *testing.T) {
	text, err := os.ReadFile("docs/architecture.md")
	if err != nil {
		t.Fatal(err)
	}
	rooms, _ := filepath.Glob("internal/*")
	transports, _ := filepath.Glob("transports/*")
	for _, room := range append(rooms, transports...) {
		kind, name := filepath.Split(filepath.ToSlash(room))
		if kind == "internal/" {
			name = kind + name
		}
		if !strings.Contains(string(text), name) {
			t.Errorf("docs/architecture.md does not have %s", room)
		}
	}
	for _, m := range regexp.MustCompile("`(\\w+\\.go)`").FindAllSubmatch(text, -1) {
		here, _ := filepath.Glob(string(m[1]))
		inside, _ := filepath.Glob("internal/*/" + string(m[1]))
		if len(here)+len(inside) == 0 {
			t.Errorf("docs/architecture.md names %s, which is not there", m[1])
		}
	}
}

// leakCheck is a TestMain that fails if a goroutine is left.
var leakCheck = regexp.MustCompile(
	`(?s)func TestMain\(m \*testing\.M\) \{.*?` +
		`\b((leak|transporttest|lahjatest|roletest)\.)?Main\(m\b`)

// Each package with tests fails when they leave a goroutine behind.
func TestEveryPackageLooksForLeaks(t *testing.T) {
	tests := map[string]string{} // by folder
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
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

// The check of coverage notices a package that is tested too little, or not at all.
func TestCoverFloor(t *testing.T) {
	if _, err := exec.LookPath("awk"); err != nil {
		t.Skip(err)
	}
	const well, badly = ":1.1,9.2 19 1\n", ":9.2,10.1 1 1\n"
	profile := func(least string) string {
		text := "mode: set\n"
		for _, name := range []string{"codec", "session", "router", "core"} {
			text += "github.com/lahja-go/lahja/internal/" + name + "/a.go" + well
			text += "github.com/lahja-go/lahja/internal/" + name + "/a.go" + least
		}
		return text + "github.com/lahja-go/lahja/a.go:1.1,2.2 5 0\n"
	}
	session := "github.com/lahja-go/lahja/internal/session"
	for name, c := range map[string]struct {
		profile, says string
		fails         bool
	}{
		"enough": {profile(badly), "94.1 %     85 statements  all", false},
		"too little": {profile(":9.2,10.1 2 0\n"),
			"90.5 %     21 statements  lahja/internal/core: it has", true},
		"not at all": {strings.ReplaceAll(profile(badly), session, session+"x"),
			"no statements of /internal/session", true},
	} {
		t.Run(name, func(t *testing.T) {
			cmd := exec.Command("awk", "-f", ".ci/cover.awk")
			cmd.Stdin = strings.NewReader(c.profile)
			out, err := cmd.CombinedOutput()
			if (err != nil) != c.fails || !strings.Contains(string(out), c.says) {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}
