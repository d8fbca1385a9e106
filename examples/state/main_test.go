package main

import (
	"slices"
	"strings"
	"testing"

	"github.com/lahja-go/lahja"
	"github.com/lahja-go/lahja/examples/internal/role/roletest"
	"github.com/lahja-go/lahja/lahjatest"
)

func TestMain(m *testing.M) {
	roletest.Program(main)
	lahjatest.Main(m, map[string]lahjatest.Role{"service": service})
}

const want = "database is ready\nweb is ready\ndatabase is gone\nstill here: web\n"

// The board that comes late shows the same, wherever the services are.
func TestBoard(t *testing.T) {
	setups := slices.Concat(lahjatest.Transports(), lahjatest.Processes(), lahjatest.Mixed())
	for _, setup := range setups {
		t.Run(setup.Name, func(t *testing.T) {
			bus := setup.NewBus(t)
			bus.Start("service", database)
			bus.Start("service", webService)
			ep := bus.Endpoint(boardName)
			there := lahja.SubscribedBy[Leave](database, webService)
			if err := ep.WaitUntil(bus.Context(), there); err != nil {
				t.Fatal(err)
			}
			shown := ""
			err := board(bus.Context(), ep, func(line string) { shown += line + "\n" })
			if err != nil || shown != want {
				t.Errorf("%v, and it shows\n%s", err, shown)
			}
		})
	}
}

// Where there is no directory for a socket, the program says what to do.
func TestNoDirectory(t *testing.T) {
	if !slices.Contains(roletest.Transports(), "unix") {
		t.Skip("there are no such sockets here")
	}
	cmd := roletest.Command(t, "-transport", "unix")
	cmd.Env = append(cmd.Env, "TMPDIR=/nonexistent")
	out, _ := cmd.CombinedOutput()
	if cmd.ProcessState.ExitCode() != 1 || !strings.Contains(string(out), "set TMPDIR") {
		t.Errorf("%v, %q; want status 1 and what to do", cmd.ProcessState, out)
	}
}

func TestProgram(t *testing.T) {
	for _, transport := range roletest.Transports() {
		t.Run(transport, func(t *testing.T) {
			cmd := roletest.Command(t, "-transport", transport)
			var stderr strings.Builder
			cmd.Stderr = &stderr
			stdout, err := cmd.Output()
			if string(stdout) != want || stderr.Len() > 0 || err != nil {
				t.Errorf("%v, %q, stdout\n%s", err, &stderr, stdout)
			}
		})
	}
}
