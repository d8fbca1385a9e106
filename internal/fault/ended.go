package fault

import (
	"context"
	"errors"
	"fmt"
)

// Ended says that ctx has ended, and why: for errors.Is it is the Err of ctx and its Cause. It is
// nil while ctx lives.
func Ended(ctx context.Context) error {
	err := ctx.Err()
	if err == nil {
		return nil
	}
	cause := context.Cause(ctx)
	if errors.Is(cause, err) {
		return cause
	}
	return fmt.Errorf("%w: %w", err, cause)
}

// Because returns err, with which something has failed under ctx. If that has ended, it says so as
// Ended does.
func Because(ctx context.Context, err error) error {
	ended := ctx.Err()
	if ended == nil {
		return err
	}
	switch cause := context.Cause(ctx); {
	case errors.Is(err, ended) && errors.Is(err, cause):
		return err
	case errors.Is(err, ended):
		return fmt.Errorf("%w: %w", err, cause)
	}
	return fmt.Errorf("%w (%w)", Ended(ctx), err)
}
