package window

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// Prompt says when a publisher is short of room.
func TestPrompt(t *testing.T) {
	for _, c := range []struct {
		limit, used int64
		want        bool
	}{
		{100, 0, false}, {100, 49, false}, {100, 50, true}, {0, 0, true},
		{4 * step, 3 * step, false},
	} {
		t.Run(fmt.Sprintf("%d of %d", c.used, c.limit), func(t *testing.T) {
			a := NewPool(c.limit, 0).Open()
			a.add(c.used)
			if got := a.Prompt(); got != c.want {
				t.Errorf("got %v", got)
			}
		})
	}
}

// Drained waits for the last event, ends with its ctx, and any number may wait.
func TestDrained(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := NewPool(10, 0).Open()
		a.add(5)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := a.Drained(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("with something outstanding: %v", err)
		}
		var waiting sync.WaitGroup
		for range 2 {
			waiting.Go(func() {
				if err := a.Drained(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		a.Release(5)
		waiting.Wait()
	})
}
