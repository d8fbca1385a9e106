//go:build !unix

package pipe_test

import (
	"errors"
	"os/exec"
	"testing"

	"github.com/lahja-go/lahja"
	"github.com/lahja-go/lahja/transports/pipe"
)

func TestUnsupported(t *testing.T) {
	bus := lahja.NewBus()
	defer bus.Close()
	_, spawn := pipe.Spawn(t.Context(), bus, exec.Command("worker"))
	_, parent := pipe.Parent().Dial(t.Context())
	_, dial := pipe.Loopback().Dial(t.Context())
	_, listen := pipe.Loopback().Listen(t.Context())
	for _, err := range []error{spawn, parent, dial, listen} {
		if !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("%v, want errors.ErrUnsupported", err)
		}
	}
}
