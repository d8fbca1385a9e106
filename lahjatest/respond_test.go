package lahjatest_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lahja-go/lahja"
	"github.com/lahja-go/lahja/lahjatest"
)

type script []lahjatest.Exchange[number, double]

const errSoldOut lahja.Code = "test: sold out"

func ask(ctx context.Context, ep *lahja.Endpoint, n int) (int, error) {
	answer, err := lahja.Request[number, double](ctx, ep, number{n})
	return answer.N, err
}

func TestRespondFollowsItsScript(t *testing.T) {
	for _, setup := range lahjatest.Transports() {
		t.Run(setup.Name, func(t *testing.T) {
			bus := setup.NewBus(t)
			asker := bus.Endpoint("asker")
			lahjatest.Respond(t, bus.Endpoint("shop"), script{
				{Request: number{1}, Response: double{2}},
				{Request: number{1}, Err: errSoldOut},
				{Request: number{2}, Response: double{4}},
			})
			if n, err := ask(t.Context(), asker, 1); n != 2 || err != nil {
				t.Errorf("first it was answered %d, %v", n, err)
			}
			if _, err := ask(t.Context(), asker, 1); !errors.Is(err, errSoldOut) {
				t.Errorf("then %v", err)
			}
			if n, err := ask(t.Context(), asker, 2); n != 4 || err != nil {
				t.Errorf("at last %d, %v", n, err)
			}
		})
	}
}

func TestRespondTakesItsTime(t *testing.T) {
	for _, setup := range bubbled() {
		synctest.Test(t, func(t *testing.T) {
			bus := setup.NewBus(t)
			asker := bus.Endpoint("asker")
			lahjatest.Respond(t, bus.Endpoint("shop"), script{
				{Request: number{1}, Response: double{2}, After: time.Minute},
				{Request: number{2}, Response: double{4}, After: time.Hour},
			})
			begin := time.Now()
			if n, err := ask(t.Context(), asker, 1); n != 2 || err != nil ||
				time.Since(begin) != time.Minute {
				t.Errorf("it was answered %d, %v after %v", n, err, time.Since(begin))
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			if _, err := ask(ctx, asker, 2); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("the requester had a second, and the error is %v", err)
			}
		})
	}
}

func TestRespondFailsTheTest(t *testing.T) {
	for name, c := range map[string]struct {
		asked []int
		shown []string
	}{
		"another": {[]int{1, 3, 2}, []string{"unexpected request",
			"  - 1  {N: 2}\n  + 1  {N: 3} from \"asker\"\n         .N: expected 2, received 3"}},
		"too many": {[]int{1, 2, 4}, []string{"all 2 were answered, and then came another",
			`  + 2  {N: 4} from "asker"`}},
		"too few": {[]int{1}, []string{"these requests never came", "  - 1  {N: 2}"}},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t testing.TB, bus *lahjatest.Bus) {
				asker := bus.Endpoint("asker")
				lahjatest.Respond(t, bus.Endpoint("shop"), script{
					{Request: number{1}, Response: double{2}},
					{Request: number{2}, Response: double{4}},
				})
				for _, n := range c.asked {
					ask(t.Context(), asker, n) // the responder has to say what is wrong
				}
			}, func(t *testing.T, test *fake) {
				test.wantFailure(t, append(c.shown, `lahjatest_test.number at "shop"`)...)
			})
		})
	}
}

func TestRespondThatCannot(t *testing.T) {
	within(func(t testing.TB) {
		ep := lahjatest.NewBus(t).Endpoint("shop")
		lahjatest.Respond(t, ep, script{}, lahja.Concurrency(0))
		t.Errorf("it went on")
	}).wantFailure(t, "responding", "Concurrency(0)")
	within(func(t testing.TB) {
		ep := lahjatest.NewBus(t).Endpoint("shop")
		lahjatest.Respond(t, ep, []lahjatest.Exchange[func(), double]{})
		t.Errorf("it went on")
	}).wantFailure(t, `responding to func() at "shop"`, "cannot be an event")
}

// What has arrived when the test ends has come, although it was not answered yet.
func TestRespondToWhatHasArrivedAtTheEnd(t *testing.T) {
	for _, setup := range lahjatest.Transports() {
		t.Run(setup.Name, func(t *testing.T) {
			within(func(t testing.TB) {
				shop := setup.NewBus(t).Endpoint("shop")
				lahjatest.Respond(t, shop, make([]lahjatest.Exchange[number, double], 1000))
				say(t, shop, make([]int, 1000)...)
			}).wantNoFailure(t)
		})
	}
}
