package lahja_test

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"
)

// block is what stands between two fences.
type block struct{ language, text string }

var fenced = regexp.MustCompile("(?ms)^```([a-z]*)\n(.*?)^```$")

func readme(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	return strings.ReplaceAll(string(text), "\r\n", "\n")
}

// blocks returns what is fenced in a text, in order.
func blocks(text string) (all []block) {
	for _, m := range fenced.FindAllStringSubmatch(text, -1) {
		all = append(all, block{m[1], m[2]})
	}
	return all
}

// kind is what a block is, and so which of the tests below is about it.
func (b block) kind() string {
	switch {
	case b.language == "go" && strings.HasPrefix(b.text, "package main\n"):
		return "program"
	case b.language == "go" && strings.HasPrefix(b.text, "func Test"):
		return "test"
	case b.language == "go":
		return "statements"
	case b.language == "sh":
		return "commands"
	case b.language == "text":
		return "output"
	}
	return ""
}

// Nothing in the README is left out of the tests below.
func TestReadmeBlocks(t *testing.T) {
	count := map[string]int{}
	for _, b := range blocks(readme(t)) {
		if b.kind() == "" {
			t.Errorf("no test knows what to do with this block of %q:\n%s", b.language, b.text)
		}
		count[b.kind()]++
	}
	for _, kind := range []string{"program", "test", "statements", "commands", "output"} {
		if count[kind] == 0 {
			t.Errorf("the README has no %s, of %v", kind, count)
		}
	}
	if count["program"] != count["output"] {
		t.Errorf("of %d programs the output of %d is shown", count["program"], count["output"])
	}
}

// command runs something, in a folder, for a minute at most.
func command(t *testing.T, dir, name string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOPROXY=off") // all that is needed was to build this test
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// write makes a file of its own for some source.
func write(t *testing.T, name, source string) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(source), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// like reports whether an output is as shown, with other numbers of processes.
func like(shown, out string) bool {
	numbers := regexp.MustCompile(`\d{4,}`)
	pattern := numbers.ReplaceAllString(regexp.QuoteMeta(shown), `\d+`)
	return regexp.MustCompile("^" + pattern + "$").MatchString(out)
}

// The first program prints what it is said to print, where it is part of this module.
func TestReadmeProgram(t *testing.T) {
	var program, output string
	for _, b := range blocks(readme(t)) {
		if b.kind() == "program" && program == "" {
			program = b.text
		}
		if b.kind() == "output" && output == "" {
			output = b.text
		}
	}
	if out := command(t, ".", "go", "run", write(t, "main.go", program)); !like(output, out) {
		t.Errorf("it prints\n%s\nwant\n%s", out, output)
	}
}

// A newcomer who does what the section of that name says has two processes that talk. Only where
// the module comes from is another: it is this one.
func TestReadmeFiveMinutes(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("it says that Windows needs an address")
	}
	_, section, found := strings.Cut(readme(t), "\n## Two processes in five minutes\n")
	section, _, ends := strings.Cut(section, "\n## ")
	if !found || !ends {
		t.Fatal("there is no such section")
	}
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	var printed string
	dir := t.TempDir()
	for _, b := range blocks(section) {
		switch b.kind() {
		case "program":
			err := os.WriteFile(filepath.Join(dir, "main.go"), []byte(b.text), 0o600)
			if err != nil {
				t.Fatal(err)
			}
		case "commands":
			for line := range strings.Lines(b.text) {
				dir, printed = obey(t, dir, here, strings.Fields(line), printed)
			}
		case "output":
			if !like(b.text, printed) {
				t.Errorf("it prints\n%s\nwant\n%s", printed, b.text)
			}
		}
	}
}

// obey does what a line says, in dir or in this repository, and returns where that leads and what
// was printed last.
func obey(t *testing.T, dir, here string, line []string, printed string) (string, string) {
	t.Helper()
	switch said := strings.Join(line, " "); {
	case line[0] == "cd":
		return filepath.Join(dir, line[1]), printed
	case strings.HasPrefix(said, "go mod init "):
		command(t, dir, line[0], line[1:]...)
		command(t, dir, "go", "mod", "edit", "-replace", "github.com/lahja-go/lahja="+here)
		sums, err := os.ReadFile("go.sum") // so that the network is not asked
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, "go.sum"), sums, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
		return dir, printed
	case strings.HasPrefix(said, "go run ./examples/"):
		if command(t, here, line[0], line[1:]...) == "" {
			t.Errorf("%s prints nothing", said)
		}
		return dir, printed
	default:
		return dir, command(t, dir, line[0], line[1:]...)
	}
}

// preamble is what the statements and calls of the README take for granted.
const preamble = `package main

import (
	"context"
	"crypto/tls"

	"github.com/lahja-go/lahja"
	"github.com/lahja-go/lahja/transports/memory"
	"github.com/lahja-go/lahja/transports/pipe"
	"github.com/lahja-go/lahja/transports/tcp"
	"github.com/lahja-go/lahja/transports/unix"
)

var (
	ctx           context.Context
	bus           *lahja.Bus
	m             = memory.New()
	path, address string
	config        *tls.Config
	transport     = unix.New(path)
	f             func(context.Context, string, lahja.Identity) (lahja.Permissions, error)
	_             = pipe.Parent
	_             = tcp.New
)

func main() {}
`

// The statements, and the calls within the text, are right.
func TestReadmeStatements(t *testing.T) {
	text := readme(t)
	source := preamble
	n := 0
	add := func(statements string) {
		source += fmt.Sprintf("\nfunc _() {\n%s\n", statements)
		assigned := regexp.MustCompile(`(?m)^([\w, ]+) :=`)
		for _, m := range assigned.FindAllStringSubmatch(statements, -1) {
			for _, name := range strings.Split(m[1], ", ") {
				source += "\t_ = " + name + "\n"
			}
		}
		source += "}\n"
		n++
	}
	for _, b := range blocks(text) {
		if b.kind() == "statements" {
			add(b.text)
		}
	}
	calls := regexp.MustCompile("`([a-z]+\\.[A-Z]\\w*\\(.*?\\))`")
	for _, m := range calls.FindAllStringSubmatch(fenced.ReplaceAllString(text, ""), -1) {
		add(m[1])
	}
	if n < 8 {
		t.Errorf("%d statements and calls were found", n)
	}
	command(t, ".", "go", "vet", write(t, "main.go", source))
}

// meeting is a program in which the statements about an address are run.
const meeting = `package main

import (
	"context"
	"fmt"
	"log"
	"time"

	"github.com/lahja-go/lahja"
	"github.com/lahja-go/lahja/transports/tcp"
)

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	bus := lahja.NewBus()
	defer bus.Close()
	%s
	ep, err := connect(ctx)
	for err != nil && ctx.Err() == nil {
		time.Sleep(5 * time.Millisecond) // the bus may not be up yet
		ep, err = connect(ctx)
	}
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(ep.Name(), "is attached")
}

func connect(ctx context.Context) (*lahja.Endpoint, error) {
	%s
	return ep, err
}
`

// Who does at an address what the README says is attached.
func TestReadmeAddress(t *testing.T) {
	var statements []any
	for _, b := range blocks(readme(t)) {
		if b.kind() == "statements" {
			statements = append(statements, b.text)
		}
	}
	if len(statements) != 2 {
		t.Fatalf("%d statements; one that serves and one that connects are due", len(statements))
	}
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	free.Close()
	program := strings.ReplaceAll(fmt.Sprintf(meeting, statements...), "127.0.0.1:4500",
		free.Addr().String())
	out := command(t, ".", "go", "run", write(t, "main.go", program))
	if out != "greeter is attached\n" {
		t.Errorf("it prints %q", out)
	}
}

// The tests in the README pass.
func TestReadmeTest(t *testing.T) {
	source := `package main

import (
	"testing"
	"time"

	"github.com/lahja-go/lahja"
	"github.com/lahja-go/lahja/lahjatest"
)

type BlockImported struct{ Number uint64 }

`
	for _, b := range blocks(readme(t)) {
		if b.kind() == "test" {
			source += b.text
		}
	}
	out := command(t, ".", "go", "test", "-v", write(t, "readme_test.go", source))
	if !strings.Contains(out, "--- PASS: TestBlocksReachTheUI/tcp") {
		t.Errorf("it has not run over tcp:\n%s", out)
	}
}

// Every file and folder that the documents link to is there.
func TestLinks(t *testing.T) {
	documents, _ := filepath.Glob("docs/*.md")
	roots, _ := filepath.Glob("*.md")
	for _, name := range append(documents, roots...) {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		text = regexp.MustCompile("`[^`\n]*`").ReplaceAll(text, nil) // code that looks like a link
		for _, m := range regexp.MustCompile(`\]\(([\w./-]+)[)#]`).FindAllSubmatch(text, -1) {
			path := filepath.Join(filepath.Dir(name), string(m[1]))
			if _, err := os.Stat(path); err != nil {
				t.Errorf("%s links to %s: %v", name, m[1], err)
			}
		}
	}
}

// Every target that the documents name is one of the Makefile.
func TestMakeTargets(t *testing.T) {
	makefile, err := os.ReadFile("Makefile")
	if err != nil {
		t.Fatal(err)
	}
	said := regexp.MustCompile("(?m)(?:^ *|[`:] *)make ([a-z-]+)\\b")
	documents, _ := filepath.Glob("docs/*.md")
	roots, _ := filepath.Glob("*.md")
	for _, name := range append(documents, roots...) {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range said.FindAllSubmatch(text, -1) {
			if !bytes.Contains(makefile, append([]byte("\n"), append(m[1], ": "...)...)) {
				t.Errorf("%s says make %s, and there is no such target", name, m[1])
			}
		}
	}
}

// What a reader would stumble over is noticed.
func TestReadmeCheckers(t *testing.T) {
	text := "a\n```go\npackage main\n\nx\n```\nb\n```sh\nls\n```\n```yaml\nc: d\n```\n"
	got := ""
	for _, b := range blocks(text) {
		got += b.kind() + "," + strings.TrimSpace(b.text) + ";"
	}
	if want := "program,package main\n\nx;commands,ls;,c: d;"; got != want {
		t.Errorf("blocks are %q; want %q", got, want)
	}
	if !like("a 1 b 4242\n", "a 1 b 77\n") || like("a 1\n", "a 2\n") || like("a 4242\n", "a b\n") {
		t.Error("like is wrong about numbers")
	}
}
