package main

import (
	"strings"
	"testing"

	"github.com/lahja-go/lahja/examples/internal/role/roletest"
)

func TestMain(m *testing.M) { roletest.Main(m, main) }

// P64: the first of the examples of Python's lahja runs.
func TestPrintsYayThreeTimes(t *testing.T) {
	for _, transport := range roletest.Transports() {
		t.Run(transport, func(t *testing.T) {
			t.Parallel()
			cmd := roletest.Command(t, "-transport", transport)
			var stderr strings.Builder
			cmd.Stderr = &stderr
			stdout, err := cmd.Output()
			if string(stdout) != "Yay\nYay\nYay\n" || stderr.String() != "" || err != nil {
				t.Errorf("stdout %q, stderr %q, error %v; want three times Yay, and nothing else",
					stdout, &stderr, err)
			}
		})
	}
}
