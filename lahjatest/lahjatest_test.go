package lahjatest_test

import (
	"context"
	"testing"
	"testing/synctest"

	"github.com/lahja-go/lahja"
	"github.com/lahja-go/lahja/lahjatest"
)

func TestSetups(t *testing.T) {
	want := []string{
		"in-process", "memory", "pipe", "unix", "tcp",
		"pipe processes", "unix processes", "tcp processes", "pipe mixed", "unix mixed",
		"tcp mixed",
	}
	var got []string
	for _, setup := range everywhere() {
		got = append(got, setup.Name)
	}
	if len(got) != len(want) {
		t.Fatalf("there are %q; want %q", got, want)
	}
	for i, name := range want {
		if got[i] != name {
			t.Errorf("setup %d is %q; want %q", i, got[i], name)
		}
	}
}

// What is attached by a setup hears what others broadcast, whoever attaches it.
func TestEndpointsHearEachOther(t *testing.T) {
	for _, setup := range everywhere() {
		t.Run(setup.Name, func(t *testing.T) {
			bus := setup.NewBus(t)
			a := bus.Endpoint("a")
			b, err := bus.Connect(bus.Context(), "b")
			must(t, err)
			defer b.Close()
			events := lahja.Stream[order](bus.Context(), b)
			want := order{Item: "rope", Count: 2}
			must(t, lahja.Broadcast(bus.Context(), a, want))
			if ev := <-events; ev.Value.Item != "rope" || ev.Origin != "a" {
				t.Errorf("%+v has come", ev)
			}
		})
	}
}

func TestEndpointOfTakenNameEndsTheTest(t *testing.T) {
	for _, setup := range lahjatest.Transports() {
		t.Run(setup.Name, func(t *testing.T) {
			within(func(t testing.TB) {
				bus := setup.NewBus(t)
				bus.Endpoint("a")
				bus.Endpoint("a")
				t.Errorf("it went on")
			}).wantFailure(t, `"a"`, "name taken")
		})
	}
}

// bubbled are the setups that work in a bubble.
func bubbled() []lahjatest.Setup { return lahjatest.Transports()[:2] }

// The others would hang there, and say so instead.
func TestSetupsThatDoNotWorkInABubble(t *testing.T) {
	for _, setup := range everywhere()[2:] {
		synctest.Test(t, func(t *testing.T) {
			within(func(t testing.TB) {
				setup.NewBus(t)
			}).wantFailure(t, `"`+setup.Name+`"`, "bubble")
		})
	}
}

func TestEndpointThatIsLeftFailsTheTest(t *testing.T) {
	for _, setup := range bubbled() {
		synctest.Test(t, func(t *testing.T) {
			var left *lahja.Endpoint
			test := within(func(t testing.TB) {
				bus := setup.NewBus(t)
				bus.Endpoint("kept")
				closed, err := bus.Connect(bus.Context(), "closed")
				must(t, err)
				closed.Close()
				left, err = bus.Connect(bus.Context(), "forgotten")
				must(t, err)
			})
			left.Close()
			test.wantFailure(t, `["forgotten"]`, "still attached")
		})
	}
}

// Also one with the name of this package.
func TestEndpointNamedLahjatestThatIsLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		within(func(t testing.TB) {
			bus := lahjatest.NewBus(t)
			_, err := bus.Connect(bus.Context(), "lahjatest")
			must(t, err)
		}).wantFailure(t, `["lahjatest"]`, "still attached")
	})
}

func TestHandlerThatDoesNotReturnFailsTheTest(t *testing.T) {
	for _, setup := range bubbled() {
		synctest.Test(t, func(t *testing.T) {
			begun, release := make(chan struct{}), make(chan struct{})
			test := within(func(t testing.TB) {
				bus := setup.NewBus(t)
				ep := bus.Endpoint("busy")
				stuck := func(context.Context, lahja.Event[number]) {
					close(begun)
					<-release
				}
				_, err := lahja.Subscribe(bus.Context(), ep, stuck)
				must(t, err)
				must(t, lahja.Broadcast(bus.Context(), ep, number{1}))
				<-begun
			})
			close(release)
			test.wantFailure(t, `"busy"`, "has not returned 5s after")
		})
	}
}

func TestBusThatTheTestHasClosed(t *testing.T) {
	for _, setup := range bubbled() {
		synctest.Test(t, func(t *testing.T) {
			within(func(t testing.TB) {
				bus := setup.NewBus(t)
				bus.Endpoint("a")
				bus.Close()
			}).wantNoFailure(t)
		})
	}
}

func TestContextEndsWithTheTest(t *testing.T) {
	var ctx context.Context
	within(func(t testing.TB) {
		ctx = lahjatest.NewBus(t).Context()
		if ctx.Err() != nil {
			t.Errorf("it begins with %v", ctx.Err())
		}
	}).wantNoFailure(t)
	if ctx.Err() == nil {
		t.Error("the test has ended, and its context has not")
	}
}
