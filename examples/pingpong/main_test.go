package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/lahja-go/lahja/examples/internal/role/roletest"
)

func TestMain(m *testing.M) { roletest.Main(m, main) }

// What the program prints, up to the event's payload.
const (
	hello1     = "Hello from proc1!"
	hello2     = "Hello from proc2!"
	subscribe1 = "Received by Subscribe in proc1:"
	own1       = "Receiving own event:"
	subscribe2 = "Received by Subscribe in proc2:"
	stream2    = "Received by Stream in proc2:"
)

// printed is what followed after each of the beginnings, in order.
type printed map[string][]string

func (p printed) add(t *testing.T, line string) {
	for _, beginning := range []string{hello1, hello2, subscribe1, own1, subscribe2, stream2} {
		if rest, found := strings.CutPrefix(line, beginning); found {
			p[beginning] = append(p[beginning], strings.TrimSpace(rest))
			return
		}
	}
	t.Errorf("it printed %q", line)
}

// check holds at any time, at the end of an orderly run and elsewhere.
func (p printed) check(t *testing.T) {
	t.Helper()
	for i, payload := range p[own1] {
		if want := fmt.Sprintf("hit from proc1 (%d)", 5*(i+1)); payload != want {
			t.Errorf("proc1 got %q of its own; want %q", payload, want)
		}
	}
	for i, payload := range p[subscribe1] {
		if want := fmt.Sprintf("hit from proc2 (%d)", 2*(i+1)); payload != want {
			t.Errorf("proc1 got %q; want %q", payload, want)
		}
	}
	if got, most := len(p[subscribe1]), len(p[hello2])/2; got > most {
		t.Errorf("proc1 got %d events; proc2 cannot have sent more than %d", got, most)
	}
}

// P65: the second of the examples of Python's lahja runs.
func TestRunsAsLongAsTold(t *testing.T) {
	for _, transport := range roletest.Transports() {
		t.Run(transport, func(t *testing.T) {
			t.Parallel()
			cmd := roletest.Command(t, "-transport", transport, "-for", "240ms", "-tick", "20ms")
			out := printed{}
			cmd.Stdout = roletest.EachLine(func(line string) { out.add(t, line) })
			cmd.Stderr = roletest.EachLine(func(line string) { t.Errorf("on stderr: %s", line) })
			if err := cmd.Run(); err != nil {
				t.Fatal(err)
			}
			out.check(t)
			if len(out[hello1]) != 12 || len(out[own1]) != 2 {
				t.Errorf("proc1 said hello %d times and got %d events of its own; want 12 and 2",
					len(out[hello1]), len(out[own1]))
			}
			// proc1 begins when the first of proc2's two subscriptions is there. So if the system
			// is very slow the other one misses the first event, but never a later one.
			for _, how := range []string{subscribe2, stream2} {
				got, all := out[how], out[own1]
				if !slices.Equal(got, all) && !slices.Equal(got, all[1:]) {
					t.Errorf("%s %q; want %q", how, got, all)
				}
			}
		})
	}
}

// runForEver runs the program, and calls act as soon as it has printed a line of each kind.
func runForEver(t *testing.T, transport string, act func(*os.Process) error) error {
	cmd := roletest.Command(t, "-transport", transport, "-for", "1h", "-tick", "5ms")
	out := printed{}
	acted := false
	cmd.Stdout = roletest.EachLine(func(line string) {
		out.add(t, line)
		if len(out) < 6 || acted {
			return
		}
		acted = true
		if err := act(cmd.Process); err != nil {
			t.Error(err)
		}
	})
	cmd.Stderr = roletest.EachLine(func(line string) { t.Errorf("on stderr: %s", line) })
	err := cmd.Run()
	out.check(t)
	return err
}

func TestCtrlCEndsIt(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("a process cannot send another one Ctrl-C there")
	}
	for _, transport := range roletest.Transports() {
		t.Run(transport, func(t *testing.T) {
			t.Parallel()
			interrupt := func(p *os.Process) error { return p.Signal(os.Interrupt) }
			if err := runForEver(t, transport, interrupt); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestProc2EndsWhenProc1Dies(t *testing.T) {
	for _, transport := range roletest.ProcessTransports() {
		t.Run(transport, func(t *testing.T) {
			t.Parallel()
			err := runForEver(t, transport, (*os.Process).Kill)
			if died := new(exec.ExitError); !errors.As(err, &died) {
				t.Errorf("%v; want that proc1 was killed, and nothing else", err)
			}
		})
	}
}

func TestMisuse(t *testing.T) {
	for _, args := range [][]string{
		{"-tick", "0s"}, {"-for", "-1s"}, {"-transport", "pigeon"}, {"-tick=1ms", "stray"},
	} {
		cmd := roletest.Command(t, args...)
		var stderr strings.Builder
		cmd.Stderr = &stderr
		cmd.Run()
		if cmd.ProcessState.ExitCode() != 2 || !strings.Contains(stderr.String(), args[1]) {
			t.Errorf("%q: %v, %q; want status 2 and a message about %s", args, cmd.ProcessState,
				&stderr, args[1])
		}
	}
}
