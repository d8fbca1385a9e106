//go:build unix

package pipe_test

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/lahja-go/lahja"
	"github.com/lahja-go/lahja/transports/pipe"
)

func TestNotSpawned(t *testing.T) {
	t.Parallel()
	_, err := pipe.Parent().Dial(t.Context())
	if err == nil || !strings.Contains(err.Error(), "pipe.Spawn") {
		t.Errorf("Dial: %v, want what to do", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := pipe.Parent().Dial(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Dial: %v, want context.Canceled", err)
	}
}

func TestDialledAlready(t *testing.T) {
	t.Parallel()
	bus, ep := newBus(t)
	texts := lahja.Stream[Text](t.Context(), ep)
	child := spawn(t, bus, command(t, "dials"))
	for _, want := range []string{"one connection", "nobody can listen"} {
		if got := receive(t, texts).Value.S; !strings.Contains(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
	}
	if err := await(t, child); err != nil {
		t.Error(err)
	}
}

func TestConnectionOfChild(t *testing.T) {
	t.Parallel()
	bus, _ := newBus(t)
	err := refused(t, bus, command(t, "raw"))
	if !strings.Contains(err.Error(), "exit status 0") {
		t.Error(err)
	}
}

func TestNested(t *testing.T) {
	t.Parallel()
	bus, ep := newBus(t)
	texts := lahja.Stream[Text](t.Context(), ep)
	child := spawn(t, bus, command(t, "nested"))
	if got := receive(t, texts).Value.S; got != "args a b" {
		t.Errorf("the grandchild says %q", got)
	}
	if err := await(t, child); err != nil {
		t.Error(err)
	}
}

// A child learns of its parent's death.
func TestParentDies(t *testing.T) {
	t.Parallel()
	cmd := command(t, "orphanage")
	var out strings.Builder
	cmd.Stdout = &out // is at its end when the orphan has exited
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	if out.String() != "lost" {
		t.Errorf("the orphan prints %q", out.String())
	}
}

func TestMalformedVariable(t *testing.T) {
	t.Parallel()
	token := strings.Repeat("5e", 32)
	for _, test := range []struct{ value, want string }{
		{"", "parts"},
		{"3,4", "parts"},
		{"3,4," + token + ",", "parts"},
		{"3,x," + token, "descriptors"},
		{"1,3," + token, "descriptors"},
		{"3,3," + token, "descriptors"},
		{"3,-4," + token, "descriptors"},
		{"3,4," + token[:62], "token"},
		{"3,4," + token[:62] + "zz", "token"},
		{"90,91," + token, "descriptor 90"}, // not open
		{"3,4," + token, "not a pipe"},
	} {
		t.Run(test.value, func(t *testing.T) {
			t.Parallel()
			file, err := os.Open(os.DevNull)
			if err != nil {
				t.Fatal(err)
			}
			defer file.Close()
			cmd := command(t, "tries")
			cmd.Env = append(cmd.Env, "LAHJA_PIPE="+test.value)
			cmd.ExtraFiles = []*os.File{file, file}
			out, err := cmd.Output()
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(string(out), test.want) ||
				!strings.Contains(string(out), "LAHJA_PIPE") {
				t.Errorf("Dial: %s, want %q", out, test.want)
			}
			if strings.Contains(string(out), "5e5e") {
				t.Errorf("%s: it has the token", out)
			}
		})
	}
}
