package fault_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/lahja-go/lahja/internal/fault"
	"github.com/lahja-go/lahja/internal/leak"
)

// TestMain fails if the tests leave a goroutine behind.
func TestMain(m *testing.M) { leak.Main(m) }

// Why a ctx has ended is its Err and its Cause, said once.
func TestEnded(t *testing.T) {
	under := func(cause error) context.Context {
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(cause)
		return ctx
	}
	past, cancel := context.WithTimeout(t.Context(), 0)
	defer cancel()
	late, cancel := context.WithTimeoutCause(t.Context(), 0, io.ErrNoProgress)
	defer cancel()
	wrapping := fmt.Errorf("in vain: %w", context.Canceled)
	for _, c := range []struct {
		ctx  context.Context
		is   []error
		text string
	}{
		{under(nil), []error{context.Canceled}, "context canceled"},
		{under(io.EOF), []error{context.Canceled, io.EOF}, "context canceled: EOF"},
		{under(wrapping), []error{context.Canceled, wrapping}, "in vain: context canceled"},
		{past, []error{context.DeadlineExceeded}, "context deadline exceeded"},
		{late, []error{context.DeadlineExceeded, io.ErrNoProgress},
			"context deadline exceeded: multiple Read calls return no data or error"},
	} {
		<-c.ctx.Done()
		for _, got := range []error{
			fault.Ended(c.ctx), fault.Because(c.ctx, errors.New("it failed")),
			fault.Because(c.ctx, fmt.Errorf("in vain: %w", c.ctx.Err())),
		} {
			for _, want := range c.is {
				if !errors.Is(got, want) {
					t.Errorf("%q is not %q", got, want)
				}
			}
		}
		if got := fault.Ended(c.ctx).Error(); got != c.text {
			t.Errorf("it says %q, want %q", got, c.text)
		}
	}
	if err := fault.Ended(t.Context()); err != nil {
		t.Errorf("%v, of a ctx that lives", err)
	}
	failed := errors.New("it failed")
	if err := fault.Because(t.Context(), failed); err != failed {
		t.Errorf("%v, under a ctx that lives", err)
	}
	gone := under(nil)
	if err := fault.Because(gone, failed); !errors.Is(err, failed) {
		t.Errorf("%v does not say what has failed", err)
	}
}
