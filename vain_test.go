package lahja_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lahja-go/lahja"
	"github.com/lahja-go/lahja/lahjatest"
)

// vain are calls that come to nothing, with what their errors have to say beside the code or the
// context's error: what it was about, and where. The endpoint is "asker"; "other" is there as well.
var vain = map[string]struct {
	call func(context.Context, *lahja.Endpoint) error
	is   error
	says []string
}{
	"nobody of that name comes": {
		func(ctx context.Context, ep *lahja.Endpoint) error {
			return ep.WaitUntil(ctx, lahja.Present("othre"))
		},
		context.DeadlineExceeded, []string{`"asker"`, `there are ["asker" "other"]`},
	},
	"no event comes": {
		func(ctx context.Context, ep *lahja.Endpoint) error {
			_, err := lahja.WaitFor[item](ctx, ep)
			return err
		},
		context.DeadlineExceeded, []string{`"asker"`, lahja.EventName[item]()},
	},
	"no answer comes": {
		func(ctx context.Context, ep *lahja.Endpoint) error {
			_, err := lahja.Request[question, answer](ctx, ep, question{1})
			return err
		},
		context.DeadlineExceeded, []string{`"asker"`, lahja.EventName[question]()},
	},
	"no room comes": {
		func(ctx context.Context, ep *lahja.Endpoint) error {
			for {
				if err := lahja.Broadcast(ctx, ep, question{2}); err != nil {
					return err
				}
			}
		},
		context.DeadlineExceeded,
		[]string{`"asker"`, lahja.EventName[question](), "lag behind", "Bus.Stats"},
	},
	"nobody can answer": {
		func(ctx context.Context, ep *lahja.Endpoint) error {
			_, err := lahja.Request[order, report](ctx, ep, order{})
			return err
		},
		lahja.ErrNoSubscribers, []string{"nobody subscribes to " + lahja.EventName[order]()},
	},
	"nobody of that name can answer": {
		func(ctx context.Context, ep *lahja.Endpoint) error {
			_, err := lahja.Request[question, answer](ctx, ep, question{}, lahja.To("othre"))
			return err
		},
		lahja.ErrNoSubscribers, []string{`["othre"]`, lahja.EventName[question]()},
	},
	"nobody of that name gathers": {
		func(ctx context.Context, ep *lahja.Endpoint) (err error) {
			to := lahja.To("othre")
			for _, err = range lahja.Gather[question, answer](ctx, ep, question{}, to) {
			}
			return err
		},
		lahja.ErrNoSubscribers, []string{`["othre"]`, lahja.EventName[question]()},
	},
	"nobody has answered": {
		func(ctx context.Context, ep *lahja.Endpoint) error {
			_, err := lahja.Request[red, answer](ctx, ep, red{})
			return err
		},
		lahja.ErrResponderGone, []string{lahja.EventName[red]()},
	},
}

// An error says what has come to nothing, and for whom, with and without a connection to the bus.
func TestWhatIsInVainIsNamed(t *testing.T) {
	for _, setup := range lahjatest.Transports()[:2] {
		for name, c := range vain {
			t.Run(setup.Name+" "+name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { inVain(t, setup, c.call, c.is, c.says) })
			})
		}
	}
}

func inVain(
	t *testing.T, setup lahjatest.Setup, call func(context.Context, *lahja.Endpoint) error,
	is error, says []string,
) {
	bus := setup.NewBus(t, lahja.Limits{Lag: 1})
	asker, other := bus.Endpoint("asker"), bus.Endpoint("other")
	lahja.Stream[question](t.Context(), other, lahja.Buffer(0)) // and nobody reads it
	_, err := lahja.Subscribe(t.Context(), other,
		func(context.Context, lahja.Event[red]) {}) // which is no answer
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if err = call(ctx, asker); !errors.Is(err, is) {
		t.Fatalf("%v, which is not %v", err, is)
	}
	for _, part := range says {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%v; it does not say %s", err, part)
		}
	}
}

// Of many who are there the first ones are named.
func TestManyAreNotAllNamed(t *testing.T) {
	bus := lahjatest.NewBus(t)
	ep := bus.Endpoint("0")
	for n := 1; n < 20; n++ {
		bus.Endpoint(fmt.Sprint(n))
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	err := ep.WaitUntil(ctx, func(lahja.Peers) bool {
		cancel()
		return false
	})
	want := `"14" "15"] and 12 more: context canceled`
	if !strings.HasSuffix(fmt.Sprint(err), want) {
		t.Errorf("%v; want …%s", err, want)
	}
}
