package lahja_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/lahja-go/lahja"
)

// An option that cannot be is an error that names it, and a panic of Stream, which has none to
// return.
func TestImpossibleOptions(t *testing.T) {
	bus := lahja.NewBus()
	defer bus.Close()
	ep, err := bus.Endpoint("a")
	if err != nil {
		t.Fatal(err)
	}
	for words, opt := range map[string]lahja.SubscribeOption{
		"From needs the name":                        lahja.From(),
		"Buffer(-1): a capacity cannot be negative":  lahja.Buffer(-1),
		"Buffer(1048577): the capacity is at most":   lahja.Buffer(1<<20 + 1),
		"Take(0): take at least one event":           lahja.Take(0),
		"Concurrency(0): at least one handler runs":  lahja.Concurrency(0),
		`From has "\xff", which cannot be the name`:  lahja.From("\xff"),
		"the name of a group is empty":               lahja.Group(""),
		"the name of a group has 256 bytes, where 2": lahja.Group(strings.Repeat("g", 256)),
	} {
		check := func(call string, err error) {
			t.Helper()
			if !errors.Is(err, lahja.ErrDenied) || !strings.Contains(err.Error(), words) {
				t.Errorf("%s fails with %v, which does not say %q", call, err, words)
			}
		}
		ctx := t.Context()
		_, err := lahja.Subscribe(ctx, ep, func(context.Context, lahja.Event[item]) {}, opt)
		check("Subscribe", err)
		for _, err := range lahja.Events[item](ctx, ep, opt) {
			check("Events", err)
		}
		func() {
			defer func() {
				err, _ := recover().(error)
				check("Stream", err)
			}()
			lahja.Stream[item](ctx, ep, opt)
		}()
	}
	largest := lahja.Stream[item](t.Context(), ep, lahja.Buffer(1<<20))
	if cap(largest) != 1<<20 {
		t.Errorf("the largest buffer has %d places", cap(largest))
	}
}
