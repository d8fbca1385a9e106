package main

import (
	"bufio"
	"context"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/lahja-go/lahja"
	"github.com/lahja-go/lahja/examples/internal/role/roletest"
	"github.com/lahja-go/lahja/lahjatest"
)

func TestMain(m *testing.M) {
	roletest.Program(main)
	roles := map[string]lahjatest.Role{}
	for name, change := range plugins {
		roles[name] = func(ctx context.Context, ep *lahja.Endpoint) error {
			return serve(ctx, ep, change)
		}
	}
	lahjatest.Main(m, roles)
}

const want = `upper made of "hello": HELLO
upper made of "banana skin": BANANA SKIN
upper made of "good bye": GOOD BYE
clumsy made of "hello": hello, oops
clumsy died of "banana skin"
clumsy made of "good bye": good bye, oops
nosy made of "hello": nothing, for it may not hear passwords
nosy made of "banana skin": nothing, for it may not hear passwords
nosy made of "good bye": nothing, for it may not hear passwords
`

func needsPipes(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("a process cannot pass pipes on to its child there")
	}
}

func TestProgram(t *testing.T) {
	needsPipes(t)
	cmd := roletest.Command(t)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	stdout, err := cmd.Output()
	if string(stdout) != want || stderr.Len() > 0 || err != nil {
		t.Errorf("%v, %q, stdout\n%s", err, &stderr, stdout)
	}
}

// Ctrl-C ends the host with its plugins, and is no failure.
func TestInterrupt(t *testing.T) {
	needsPipes(t)
	cmd := roletest.Command(t)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	bufio.NewReader(stdout).ReadString('\n') // then it runs, and has more to do
	cmd.Process.Signal(os.Interrupt)
	io.Copy(io.Discard, stdout)
	if err := cmd.Wait(); err != nil || stderr.Len() > 0 {
		t.Errorf("%v, %q", err, &stderr)
	}
}

func TestMisuse(t *testing.T) {
	cmd := roletest.Command(t, "stray")
	out, _ := cmd.CombinedOutput()
	if cmd.ProcessState.ExitCode() != 2 || !strings.Contains(string(out), "stray") {
		t.Errorf("%v, %q; want status 2 and a message about stray", cmd.ProcessState, out)
	}
}

// A plugin that dies too often is given up, with the reason.
func TestKeepGivesUp(t *testing.T) {
	needsPipes(t)
	roletest.Setenv(t)
	bus := lahjatest.NewBus(t, lahja.Authorize(permit))
	kept := make(chan error, 1)
	go func() { kept <- keep(bus.Context(), bus.Bus, "clumsy") }()
	peels := slices.Repeat([]string{"banana"}, 1+restarts)
	if err := changeLines(bus.Context(), bus.Endpoint("host"), "clumsy", peels...); err != nil {
		t.Fatal(err)
	}
	err := <-kept
	if err == nil || !strings.Contains(err.Error(), "died 4 times") ||
		!strings.Contains(err.Error(), "exit status 2") {
		t.Errorf("it ended with %v", err)
	}
}

func TestKeepOfNoPlugin(t *testing.T) {
	needsPipes(t)
	roletest.Setenv(t)
	bus := lahjatest.NewBus(t)
	err := keep(bus.Context(), bus.Bus, "juggler")
	if err == nil || !strings.Contains(err.Error(), `"juggler"`) {
		t.Errorf("it ended with %v", err)
	}
}

// Whoever has not been started by the host is not let in.
func TestPermit(t *testing.T) {
	for _, id := range []lahja.Identity{{}, {Name: "upper"}} {
		if p, err := permit(t.Context(), "nosy", id); err == nil {
			t.Errorf("%+v was allowed %v as nosy", id, p)
		}
	}
}

// A plugin does its work with what it is allowed, over every transport.
func TestPluginMayDoItsWork(t *testing.T) {
	allow := lahja.Authorize(func(ctx context.Context, name string, _ lahja.Identity) (
		lahja.Permissions, error,
	) {
		return permit(ctx, name, lahja.Identity{Name: name})
	})
	for _, setup := range lahjatest.Transports()[1:] { // endpoints of the bus's process may do all
		t.Run(setup.Name, func(t *testing.T) {
			bus := setup.NewBus(t, allow)
			host, err := bus.Bus.Endpoint("host")
			if err != nil {
				t.Fatal(err)
			}
			defer host.Close()
			for name, want := range map[string]string{"upper": "HI", "nosy": "nothing"} {
				bus.Start(name, name)
				err := host.WaitUntil(bus.Context(), lahja.SubscribedBy[Line](name))
				if err != nil {
					t.Fatal(err)
				}
				got, err := lahja.Request[Line, Changed](bus.Context(), host, Line{"hi"},
					lahja.To(name))
				if err != nil || !strings.HasPrefix(got.Text, want) {
					t.Errorf("%s: %q, %v", name, got.Text, err)
				}
			}
		})
	}
}
