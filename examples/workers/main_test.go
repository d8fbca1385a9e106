package main

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/lahja-go/lahja"
	"github.com/lahja-go/lahja/examples/internal/role/roletest"
	"github.com/lahja-go/lahja/lahjatest"
)

func TestMain(m *testing.M) {
	roletest.Program(main)
	lahjatest.Main(m, map[string]lahjatest.Role{"worker": work})
}

// The work is done and nobody is idle, wherever the workers are.
func TestShare(t *testing.T) {
	setups := slices.Concat(lahjatest.Transports(), lahjatest.Processes(), lahjatest.Mixed())
	for _, setup := range setups {
		t.Run(setup.Name, func(t *testing.T) {
			bus := setup.NewBus(t, short)
			parent := bus.Endpoint("parent")
			names := []string{"worker-1", "worker-2", "worker-3"}
			for _, name := range names {
				bus.Start("worker", name)
			}
			err := parent.WaitUntil(bus.Context(), lahja.SubscribedBy[Factor](names...))
			if err != nil {
				t.Fatal(err)
			}
			done, err := share(bus.Context(), parent, 30)
			if err != nil {
				t.Fatal(err)
			}
			all := 0
			for _, name := range names {
				all += done[name]
				if done[name] == 0 {
					t.Errorf("%s has done nothing of %v", name, done)
				}
			}
			if all != 30 || len(done) != 3 {
				t.Errorf("%v were done; want 30 by three", done)
			}
		})
	}
}

func TestFactors(t *testing.T) {
	for n, want := range map[int][]int{1: nil, 7: {7}, 12: {2, 2, 3}, 49: {7, 7}} {
		if got := factors(n); !slices.Equal(got, want) {
			t.Errorf("factors of %d: %v; want %v", n, got, want)
		}
	}
}

func TestProgram(t *testing.T) {
	for _, transport := range roletest.Transports() {
		t.Run(transport, func(t *testing.T) {
			cmd := roletest.Command(t, "-transport", transport, "-workers", "2", "-jobs", "40")
			var stderr strings.Builder
			cmd.Stderr = &stderr
			stdout, err := cmd.Output()
			var one, two int
			var held string
			_, unread := fmt.Sscanf(string(stdout), "worker-1 has factored %d\n"+
				"worker-2 has factored %d\nasking was held back for %s in all\n", &one, &two, &held)
			if unread != nil || one+two != 40 || held == "0s" || err != nil || stderr.Len() > 0 {
				t.Errorf("%v, %q, stdout\n%s(%v)", err, &stderr, stdout, unread)
			}
		})
	}
}
