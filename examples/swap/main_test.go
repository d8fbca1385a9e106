package main

import (
	"slices"
	"strings"
	"testing"

	"github.com/lahja-go/lahja/examples/internal/role/roletest"
	"github.com/lahja-go/lahja/lahjatest"
)

func TestMain(m *testing.M) {
	roletest.Program(main)
	lahjatest.Main(m, map[string]lahjatest.Role{"bidder": bid})
}

// The auction ends the same over every transport, with bidders as goroutines, processes or both.
func TestAuction(t *testing.T) {
	setups := slices.Concat(lahjatest.Transports(), lahjatest.Processes(), lahjatest.Mixed())
	for _, setup := range setups {
		t.Run(setup.Name, func(t *testing.T) {
			bus := setup.NewBus(t)
			bidders := []*lahjatest.Actor{bus.Start("bidder", "ann"), bus.Start("bidder", "ben")}
			sold, err := auction(bus.Context(), bus.Endpoint("house"), "ann", "ben")
			if want := (Sold{Amount: 50, Bidder: "ben"}); sold != want || err != nil {
				t.Errorf("%v, %v; want %v", sold, err, want)
			}
			for _, b := range bidders {
				b.Wait()
			}
		})
	}
}

func TestProgram(t *testing.T) {
	for _, transport := range roletest.Transports() {
		t.Run(transport, func(t *testing.T) {
			cmd := roletest.Command(t, "-transport", transport)
			var stderr strings.Builder
			cmd.Stderr = &stderr
			stdout, err := cmd.Output()
			if string(stdout) != "sold to ben for 50\n" || stderr.Len() > 0 || err != nil {
				t.Errorf("%v, %q, stdout\n%s", err, &stderr, stdout)
			}
		})
	}
}
