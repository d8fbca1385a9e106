package lahjatest_test

import (
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lahja-go/lahja"
	"github.com/lahja-go/lahja/lahjatest"
)

// The same script, wherever its roles are.
func TestRolesEverywhere(t *testing.T) {
	for _, setup := range everywhere() {
		t.Run(setup.Name, func(t *testing.T) {
			bus := setup.NewBus(t)
			me := bus.Endpoint("me")
			heard := lahjatest.Record[number](t, me, lahja.From("speaker"))
			bus.Start("doubler", "doubler")
			must(t, me.WaitUntil(bus.Context(), lahja.SubscribedBy[number]("doubler")))
			if n, err := ask(bus.Context(), me, 21); n != 42 || err != nil {
				t.Errorf("twice 21 is %d, %v", n, err)
			}
			bus.Start("once", "speaker").Wait()
			lahjatest.Expect(t, heard, time.Minute, number{7})
		})
	}
}

// apartFrom is how many of three roles are not in this process.
func apartFrom(t *testing.T, setup lahjatest.Setup) (n int) {
	bus := setup.NewBus(t)
	me := bus.Endpoint("me")
	names := []string{"a", "b", "c"}
	for _, name := range names {
		bus.Start("pid", name)
	}
	must(t, me.WaitUntil(bus.Context(), lahja.SubscribedBy[who](names...)))
	for _, name := range names {
		answer, err := lahja.Request[who, self](bus.Context(), me, who{}, lahja.To(name))
		must(t, err)
		if answer.PID != os.Getpid() {
			n++
		}
	}
	return n
}

func TestRolesAreWhereTheSetupSays(t *testing.T) {
	for want, setups := range map[int][]lahjatest.Setup{
		0: lahjatest.Transports(), 3: lahjatest.Processes(), 2: lahjatest.Mixed(),
	} {
		for _, setup := range setups {
			t.Run(setup.Name, func(t *testing.T) {
				if n := apartFrom(t, setup); n != want {
					t.Errorf("%d of 3 are processes; want %d", n, want)
				}
			})
		}
	}
}

func TestRoleThatFailsFailsTheTest(t *testing.T) {
	for _, setup := range everywhere() {
		t.Run(setup.Name, func(t *testing.T) {
			within(func(t testing.TB) {
				bus := setup.NewBus(t)
				actor := bus.Start("fails", "baker")
				<-bus.Context().Done()
				actor.Wait()
				t.Errorf("it went on")
			}).wantFailure(t, `the role "fails" at "baker"`, "no wares today")
		})
	}
}

func TestProcessThatPanics(t *testing.T) {
	for _, setup := range lahjatest.Processes() {
		t.Run(setup.Name, func(t *testing.T) {
			within(func(t testing.TB) {
				setup.NewBus(t).Start("panics", "clumsy").Wait()
			}).wantFailure(t, `"clumsy"`, "exit status 2", "panic: on the floor")
		})
	}
}

func TestRoleThatStaysFailsTheTest(t *testing.T) {
	for _, setup := range lahjatest.Processes() {
		t.Run(setup.Name, func(t *testing.T) {
			within(func(t testing.TB) {
				bus := setup.NewBus(t)
				bus.Hurry(200 * time.Millisecond)
				bus.Start("stays", "guest")
				me := bus.Endpoint("me")
				must(t, me.WaitUntil(bus.Context(), lahja.SubscribedBy[number]("guest")))
			}).wantFailure(t, `"guest"`, "has not returned 200ms after")
		})
	}
}

// What a role tries when it has been told to end is no failure, also if it had not begun.
func TestRoleThatIsToldToEnd(t *testing.T) {
	for _, setup := range everywhere() {
		t.Run(setup.Name, func(t *testing.T) {
			within(func(t testing.TB) {
				bus := setup.NewBus(t)
				bus.Start("once", "waits in vain")
				must(t, bus.Endpoint("me").WaitUntil(bus.Context(), lahja.Present("waits in vain")))
			}).wantNoFailure(t)
		})
	}
}

func TestRoleOfTakenName(t *testing.T) {
	for _, setup := range everywhere() {
		t.Run(setup.Name, func(t *testing.T) {
			within(func(t testing.TB) {
				bus := setup.NewBus(t)
				bus.Endpoint("me")
				bus.Start("doubler", "me").Wait()
			}).wantFailure(t, `"doubler" at "me"`, "name taken")
		})
	}
}

func TestRoleThatIsNotThere(t *testing.T) {
	within(func(t testing.TB) {
		lahjatest.NewBus(t).Start("juggler", "a")
		t.Errorf("it went on")
	}).wantFailure(t, `no role "juggler"`, "lahjatest.Main", `"doubler"`)
}

func TestWhatAProcessPrintsIsLogged(t *testing.T) {
	for _, setup := range lahjatest.Processes() {
		t.Run(setup.Name, func(t *testing.T) {
			test := within(func(t testing.TB) { setup.NewBus(t).Start("prints", "scribe").Wait() })
			test.wantNoFailure(t)
			if len(test.logged) != 1 || !strings.Contains(test.logged[0], "this is scribe") {
				t.Errorf("%q was logged", test.logged)
			}
		})
	}
}

func TestRolesInABubble(t *testing.T) {
	for _, setup := range bubbled() {
		synctest.Test(t, func(t *testing.T) {
			bus := setup.NewBus(t)
			me := bus.Endpoint("me")
			bus.Start("doubler", "doubler")
			must(t, me.WaitUntil(bus.Context(), lahja.SubscribedBy[number]("doubler")))
			if n, err := ask(bus.Context(), me, 3); n != 6 || err != nil {
				t.Errorf("twice 3 is %d, %v", n, err)
			}
		})
	}
}

func TestGoroutineThatStaysFailsTheTest(t *testing.T) {
	for _, setup := range bubbled() {
		synctest.Test(t, func(t *testing.T) {
			held = make(chan struct{})
			test := within(func(t testing.TB) {
				bus := setup.NewBus(t)
				bus.Start("held", "guest")
				synctest.Wait()
			})
			close(held)
			test.wantFailure(t, `"guest"`, "has not returned 5s after")
		})
	}
}

// A role that fails is a failure also if the test was over before the role could begin.
func TestRoleThatFailsAfterTheTest(t *testing.T) {
	for _, setup := range everywhere() {
		t.Run(setup.Name, func(t *testing.T) {
			within(func(t testing.TB) {
				bus := setup.NewBus(t)
				bus.Endpoint("me")
				bus.Start("doubler", "me")
			}).wantFailure(t, `"doubler" at "me"`, "name taken")
		})
	}
}

// One that only begins too late is none.
func TestRoleThatBeginsAfterTheTest(t *testing.T) {
	for _, setup := range everywhere() {
		t.Run(setup.Name, func(t *testing.T) {
			within(func(t testing.TB) {
				setup.NewBus(t).Start("doubler", "late")
			}).wantNoFailure(t)
		})
	}
}

// A process that does nothing is not waited for longer than others.
func TestProcessThatNeverAttaches(t *testing.T) {
	t.Setenv(mute, "yes")
	for _, setup := range lahjatest.Processes() {
		t.Run(setup.Name, func(t *testing.T) {
			within(func(t testing.TB) {
				bus := setup.NewBus(t)
				bus.Hurry(200 * time.Millisecond)
				bus.Start("doubler", "mute")
			}).wantFailure(t, `"mute"`, "has not returned 200ms after")
		})
	}
}
