package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/lahja-go/lahja/examples/internal/role/roletest"
)

func TestMain(m *testing.M) { roletest.Main(m, main) }

// Digests that everyone knows.
const (
	digestOfNothing = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	digestOfABC     = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
)

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o666); err != nil {
		t.Fatal(err)
	}
}

// oddTree returns a directory with odd names, and what sha256sum prints of the files in it, sorted.
func oddTree(t *testing.T) (dir, want string) {
	dir = t.TempDir()
	names := []string{" ", "-n", "a.txt", "a/b", "a/b c", "é", "z/deep/er/x"}
	if runtime.GOOS != "windows" {
		names = append(names, "a\nb", "a\rb", `a\b`, `a\nb`, "a\tb", "\xff", `"quoted"`, "*")
		if err := os.Symlink("a.txt", filepath.Join(dir, "link")); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range names {
		write(t, filepath.Join(dir, name), "abc")
	}
	write(t, filepath.Join(dir, "nothing"), "")
	files, failed := list(dir)
	if len(files) != len(names)+1 || failed > 0 {
		t.Fatalf("list finds %q, and %d failures", files, failed)
	}
	return dir, expect(t, files)
}

// expect is what sha256sum prints of files whose content is "abc", or nothing.
func expect(t *testing.T, files []string) string {
	t.Helper()
	program, err := exec.LookPath("sha256sum")
	if err == nil {
		out, err := exec.Command(program, append([]string{"--"}, files...)...).Output()
		if err != nil {
			t.Fatal(err)
		}
		return string(out)
	}
	var b strings.Builder
	for _, file := range files {
		digest := digestOfABC
		if info, err := os.Stat(file); err == nil && info.Size() == 0 {
			digest = digestOfNothing
		}
		escaped := escaper.Replace(file)
		if escaped != file {
			b.WriteString(`\`)
		}
		b.WriteString(digest + "  " + escaped + "\n")
	}
	return b.String()
}

// run runs the program; each, if it is not nil, is called with each line of stderr.
func run(
	t *testing.T, each func(*os.Process, string), args ...string,
) (stdout, stderr string, status int) {
	t.Helper()
	cmd := roletest.Command(t, args...)
	var out, complaints strings.Builder
	cmd.Stdout = &out
	cmd.Stderr = roletest.EachLine(func(line string) {
		fmt.Fprintln(&complaints, line)
		if each != nil {
			each(cmd.Process, line)
		}
	})
	err := cmd.Run()
	if died := new(exec.ExitError); err != nil && !errors.As(err, &died) {
		t.Fatalf("%v; it printed %s", err, &complaints)
	}
	return out.String(), complaints.String(), cmd.ProcessState.ExitCode()
}

func TestPrintsWhatSha256sumPrints(t *testing.T) {
	dir, want := oddTree(t)
	for _, transport := range roletest.Transports() {
		t.Run(transport, func(t *testing.T) {
			t.Parallel()
			stdout, stderr, status := run(t, nil, "-transport", transport, "-workers", "3", dir)
			if stdout != want || stderr != "" || status != 0 {
				t.Errorf("stdout:\n%swant:\n%sstderr: %q, status %d", stdout, want, stderr, status)
			}
		})
	}
}

func TestLine(t *testing.T) {
	for path, want := range map[string]string{
		"plain name":  "ab12  plain name\n",
		"\ttab\xff":   "ab12  \ttab\xff\n",
		"new\nline":   `\ab12  new\nline` + "\n",
		"return\r":    `\ab12  return\r` + "\n",
		`back\slash`:  `\ab12  back\\slash` + "\n",
		"\\\n both\\": `\ab12  \\\n both\\` + "\n",
	} {
		if got := line([]byte{0xab, 0x12}, path); got != want {
			t.Errorf("line of %q is %q; want %q", path, got, want)
		}
	}
}

func TestDirectories(t *testing.T) {
	empty, missing := t.TempDir(), filepath.Join(t.TempDir(), "missing")
	file := filepath.Join(t.TempDir(), "file")
	write(t, file, "abc")
	for _, test := range []struct {
		args   []string
		status int
		stderr string
	}{
		{[]string{empty}, 0, ""},
		{[]string{missing}, 2, "missing: no such file"},
		{[]string{file}, 2, "not a directory"},
		{nil, 2, "usage: "},
		{[]string{empty, empty}, 2, "usage: "},
		{[]string{"-workers", "0", empty}, 2, "usage: "},
	} {
		stdout, stderr, status := run(t, nil, test.args...)
		if stdout != "" || !strings.Contains(stderr, test.stderr) || status != test.status ||
			(stderr == "") != (test.stderr == "") {
			t.Errorf("%q: stdout %q, stderr %q, status %d; want status %d and %q", test.args,
				stdout, stderr, status, test.status, test.stderr)
		}
	}
}

// A path may be longer than the system lets a program open; that holds for every user.
func TestUnreadableFileCostsOnlyItself(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("how long a path may be differs")
	}
	top := t.TempDir()
	write(t, filepath.Join(top, "a"), "abc")
	write(t, filepath.Join(top, "z"), "abc")
	dir := filepath.Join(top, "m")
	for len(dir) < 3900 {
		dir = filepath.Join(dir, strings.Repeat("d", 100))
	}
	write(t, filepath.Join(dir, "x"), "abc")
	readable, _ := list(top)
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	unreadable, err := root.Create(strings.Repeat("f", 250))
	if err != nil {
		t.Fatal(err)
	}
	unreadable.Close()
	stdout, stderr, status := run(t, nil, "-workers", "1", top)
	if want := expect(t, readable); stdout != want || status != 1 ||
		!strings.Contains(stderr, "fff: file name too long") {
		t.Errorf("stdout:\n%swant:\n%sstderr: %q, status %d; want a complaint and 1", stdout, want,
			stderr, status)
	}
}

func TestFullDiskIsAnError(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip(err)
	}
	defer full.Close()
	dir, _ := oddTree(t)
	cmd := roletest.Command(t, "-workers", "2", dir)
	cmd.Stdout = full
	var stderr strings.Builder
	cmd.Stderr = &stderr
	cmd.Run()
	if cmd.ProcessState.ExitCode() != 1 || !strings.Contains(stderr.String(), "no space left") {
		t.Errorf("%v, %q; want status 1 and why", cmd.ProcessState, &stderr)
	}
}

// huge makes a file that nobody can have summed by the time that a test does something.
func huge(t *testing.T, path string) {
	t.Helper()
	write(t, path, "")
	if err := os.Truncate(path, 1<<40); err != nil {
		t.Skip(err)
	}
}

// crew kills workers, by what they say.
type crew struct {
	pids map[string]int
	t    *testing.T
}

var (
	introduced = regexp.MustCompile(`: (worker-\d+) is process (\d+)$`)
	started    = regexp.MustCompile(`: (worker-\d+) sums (.*)$`)
)

// starts returns the worker that begins to sum a file, and the file.
func (c *crew) starts(line string) (worker, file string) {
	if m := introduced.FindStringSubmatch(line); m != nil {
		c.pids[m[1]], _ = strconv.Atoi(m[2])
	} else if m := started.FindStringSubmatch(line); m != nil {
		return m[1], m[2]
	}
	return "", ""
}

func (c *crew) kill(worker string) {
	p, err := os.FindProcess(c.pids[worker])
	if err == nil {
		err = p.Kill()
	}
	if err != nil {
		c.t.Errorf("killing %s: %v", worker, err)
	}
}

func TestKilledWorkerCostsNothing(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("an open file cannot be replaced there")
	}
	for _, transport := range roletest.ProcessTransports() {
		t.Run(transport, func(t *testing.T) {
			t.Parallel()
			dir, _ := oddTree(t)
			victims, small := filepath.Join(dir, "huge"), filepath.Join(t.TempDir(), "small")
			huge(t, victims)
			write(t, small, "abc")
			crew := crew{map[string]int{}, t}
			var once sync.Once
			// Whoever has the huge file does not live to the end of it. For others it is small.
			stdout, stderr, status := run(t, func(_ *os.Process, line string) {
				if worker, file := crew.starts(line); file == victims {
					once.Do(func() {
						crew.kill(worker)
						if err := os.Rename(small, victims); err != nil {
							t.Error(err)
						}
					})
				}
			}, "-v", "-workers", "2", "-transport", transport, dir)
			files, _ := list(dir)
			if want := expect(t, files); stdout != want || status != 0 ||
				!strings.Contains(stderr, "killed") {
				t.Errorf("stdout:\n%swant:\n%sstderr:\n%sstatus %d", stdout, want, stderr, status)
			}
		})
	}
}

func TestAllWorkersKilled(t *testing.T) {
	for _, transport := range roletest.ProcessTransports() {
		t.Run(transport, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			huge(t, filepath.Join(dir, "1"))
			huge(t, filepath.Join(dir, "2"))
			crew := crew{map[string]int{}, t}
			stdout, stderr, status := run(t, func(_ *os.Process, line string) {
				if worker, file := crew.starts(line); file != "" {
					crew.kill(worker)
				}
			}, "-v", "-workers", "2", "-transport", transport, dir)
			if stdout != "" || status != 1 ||
				!strings.Contains(stderr, "all workers have died: 2 of 2 files are not done") {
				t.Errorf("stdout %q, stderr:\n%sstatus %d; want 1 and why", stdout, stderr, status)
			}
		})
	}
}

// runHuge runs the program on more than it can ever do, and calls act when it has begun.
func runHuge(t *testing.T, transport string, act func(*os.Process) error) (string, int) {
	dir := t.TempDir()
	huge(t, filepath.Join(dir, "1"))
	huge(t, filepath.Join(dir, "2"))
	var once sync.Once
	stdout, stderr, status := run(t, func(p *os.Process, line string) {
		if started.MatchString(line) {
			once.Do(func() {
				if err := act(p); err != nil {
					t.Error(err)
				}
			})
		}
	}, "-v", "-workers", "2", "-transport", transport, dir)
	if stdout != "" {
		t.Errorf("it printed %q", stdout)
	}
	return stderr, status
}

func TestCtrlCEndsIt(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("a process cannot send another one Ctrl-C there")
	}
	for _, transport := range roletest.Transports() {
		t.Run(transport, func(t *testing.T) {
			t.Parallel()
			interrupt := func(p *os.Process) error { return p.Signal(os.Interrupt) }
			stderr, status := runHuge(t, transport, interrupt)
			if status != 1 || !strings.Contains(stderr, "interrupted: 2 of 2 files are not done") ||
				strings.Contains(stderr, "kill") {
				t.Errorf("stderr:\n%sstatus %d; want 1, why, and nobody killed", stderr, status)
			}
		})
	}
}

// That no worker is left is checked by run, which waits until nobody holds stderr any more.
func TestWorkersEndWhenTheirParentDies(t *testing.T) {
	for _, transport := range roletest.ProcessTransports() {
		t.Run(transport, func(t *testing.T) {
			t.Parallel()
			if _, status := runHuge(t, transport, (*os.Process).Kill); status != -1 {
				t.Errorf("status %d; want that it was killed", status)
			}
		})
	}
}
