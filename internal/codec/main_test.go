package codec_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// program is a main package that prints what its types are called.
const program = `package main

import (
	"fmt"
	"reflect"

	"github.com/lahja-go/lahja/internal/codec"
)

type Started struct{ PID int }

type Box[T any] struct{ V T }

func main() { show() }

func show() {
	for _, t := range []reflect.Type{
		reflect.TypeFor[Started](),
		reflect.TypeFor[Box[map[string][2]Box[Started]]](),
	} {
		typ, err := codec.Event(t)
		if err != nil {
			panic(err)
		}
		fmt.Println("name:", typ.Name())
	}
}
`

const programTest = `package main

import "testing"

func TestShow(*testing.T) { show() }
`

const programModule = `module github.com/lahja-go/lahja/named.v2

go 1.25.0

require github.com/lahja-go/lahja v0.0.0

replace github.com/lahja-go/lahja => `

// TestMainPackage runs a program in every way that the go command has, which must not change what
// its types are called.
func TestMainPackage(t *testing.T) {
	if testing.Short() {
		t.Skip("builds programs")
	}
	if _, err := exec.LookPath("go"); err != nil {
		t.Skip(err)
	}
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	sums, err := os.ReadFile(filepath.Join(root, "go.sum"))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	app := filepath.Join(dir, "cmd", "app.x")
	if err := os.MkdirAll(app, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		filepath.Join(dir, "go.mod"):      programModule + root + "\n",
		filepath.Join(dir, "go.sum"):      string(sums),
		filepath.Join(app, "main.go"):     program,
		filepath.Join(app, "app_test.go"): programTest,
	} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	built := filepath.Join(dir, "program.exe")
	bare := filepath.Join(dir, "bare.exe")
	test := filepath.Join(dir, "test.exe")
	run(t, app, "go", "build", "-o", built, ".")
	run(t, app, "go", "build", "-trimpath", "-ldflags=-s -w", "-o", bare, ".")
	run(t, app, "go", "test", "-c", "-o", test, ".")
	const path = "github.com/lahja-go/lahja/named.v2/cmd/app.x."
	want := "name: " + path + "Started\n" +
		"name: " + path + "Box[map[string][2]" + path + "Box[" + path + "Started]]\n"
	for _, way := range [][]string{
		{"go", "run", "."}, {built}, {bare}, {"go", "test", "-v", "."}, {test},
	} {
		if got := run(t, app, way...); !strings.Contains(got, want) {
			t.Errorf("%q\n got %s\nwant %s", way, got, want)
		}
	}
	// Given a file, the go command does not know the package.
	if got := run(t, app, "go", "run", "main.go"); !strings.HasPrefix(got, "name: main.Started\n") {
		t.Errorf("go run main.go: %s", got)
	}
}

func run(t *testing.T, dir string, args ...string) string {
	t.Helper()
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOFLAGS=-mod=mod", "GOPROXY=off", "GOWORK=off")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%q: %v\n%s", args, err, out)
	}
	return string(out)
}
