package lahjatest_test

import (
	"context"
	"math"
	"math/big"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lahja-go/lahja"
	"github.com/lahja-go/lahja/lahjatest"
)

// inBubble runs a test in a bubble with each setup that allows it, and returns what became of it by
// the setup's name.
func inBubble(t *testing.T, test func(testing.TB, *lahjatest.Bus), check func(*testing.T, *fake)) {
	for _, setup := range bubbled() {
		t.Run(setup.Name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				check(t, within(func(t testing.TB) { test(t, setup.NewBus(t)) }))
			})
		})
	}
}

func say(t testing.TB, ep *lahja.Endpoint, ns ...int) {
	t.Helper()
	for _, n := range ns {
		must(t, lahja.Broadcast(t.Context(), ep, number{n}))
	}
}

func numbers(ns ...int) (events []number) {
	for _, n := range ns {
		events = append(events, number{n})
	}
	return events
}

func TestRecordKeepsEvents(t *testing.T) {
	for _, setup := range lahjatest.Transports() {
		t.Run(setup.Name, func(t *testing.T) {
			bus := setup.NewBus(t)
			a, b := bus.Endpoint("a"), bus.Endpoint("b")
			heard := lahjatest.Record[number](t, b, lahja.From("a"))
			say(t, b, 0)
			say(t, a, 1, 2)
			lahjatest.Expect(t, heard, time.Minute, numbers(1, 2)...)
			say(t, a, 3)
			lahjatest.Expect(t, heard, time.Minute, number{3})
			events := heard.Events()
			if len(events) != 3 || events[2].Value.N != 3 || events[2].Origin != "a" {
				t.Errorf("%+v was recorded", events)
			}
		})
	}
}

// Each of these is a test that fails, for the reason that is given.
func TestExpectFails(t *testing.T) {
	for name, c := range map[string]struct {
		said, want []int
		shown      []string
	}{
		"too few": {numbers2(1), numbers2(1, 2), []string{
			"expected 2, received 1 within 3s", "    0  {N: 1}", "  - 1  {N: 2}"}},
		"none": {nil, numbers2(1), []string{"expected 1, received 0 within 3s", "  - 0  {N: 1}"}},
		"too many": {numbers2(1, 2, 3), numbers2(1), []string{
			"expected 1, received 3:", "    0  {N: 1}", `  + 1  {N: 2} from "a"`, "  + 2  {N: 3}"}},
		"where none": {numbers2(4), nil, []string{"expected 0, received 1:", "  + 0  {N: 4}"}},
		"another": {numbers2(1, 9, 3), numbers2(1, 2, 3), []string{
			"  - 1  {N: 2}\n  + 1  {N: 9} from \"a\"\n         .N: expected 2, received 9\n    2"}},
		"another order": {numbers2(2, 1), numbers2(1, 2),
			[]string{"  - 0  {N: 1}", "  + 1  {N: 1}"}},
		"one left out": {numbers2(1, 3), numbers2(1, 2, 3), []string{
			"    0  {N: 1}", "  - 1  {N: 2}", "    1  {N: 3}"}},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t testing.TB, bus *lahjatest.Bus) {
				a, b := bus.Endpoint("a"), bus.Endpoint("b")
				heard := lahjatest.Record[number](t, b)
				say(t, a, c.said...)
				lahjatest.Expect(t, heard, 3*time.Second, numbers(c.want...)...)
				t.Errorf("it went on")
			}, func(t *testing.T, test *fake) {
				test.wantFailure(t, append(c.shown, `lahjatest_test.number at "b"`)...)
			})
		})
	}
}

func numbers2(ns ...int) []int { return ns }

// What comes too late is not there in time, and what comes after all fails the test at its end.
func TestExpectIsStrictAboutTime(t *testing.T) {
	later := func(t testing.TB, bus *lahjatest.Bus) *lahjatest.Recording[number] {
		ep := bus.Endpoint("a")
		time.AfterFunc(2*time.Second, func() {
			lahja.Broadcast(context.Background(), ep, number{1})
		})
		return lahjatest.Record[number](t, ep)
	}
	t.Run("in time", func(t *testing.T) {
		inBubble(t, func(t testing.TB, bus *lahjatest.Bus) {
			lahjatest.Expect(t, later(t, bus), 2*time.Second+1, number{1})
		}, func(t *testing.T, test *fake) { test.wantNoFailure(t) })
	})
	t.Run("too late", func(t *testing.T) {
		inBubble(t, func(t testing.TB, bus *lahjatest.Bus) {
			lahjatest.Expect(t, later(t, bus), 2*time.Second-1, number{1})
		}, func(t *testing.T, test *fake) { test.wantFailure(t, "received 0 within 1.999999999s") })
	})
	t.Run("nothing, and then something", func(t *testing.T) {
		inBubble(t, func(t testing.TB, bus *lahjatest.Bus) {
			lahjatest.Expect(t, later(t, bus), time.Second)
			time.Sleep(3 * time.Second)
		}, func(t *testing.T, test *fake) {
			test.wantFailure(t, "came after all that was expected", "  + 0  {N: 1}")
		})
	})
	t.Run("recorded alone", func(t *testing.T) {
		inBubble(t, func(t testing.TB, bus *lahjatest.Bus) {
			later(t, bus)
			time.Sleep(3 * time.Second)
		}, func(t *testing.T, test *fake) { test.wantNoFailure(t) })
	})
}

func TestRecordOfWhatCannotBeRecorded(t *testing.T) {
	within(func(t testing.TB) {
		lahjatest.Record[number](t, lahjatest.NewBus(t).Endpoint("a"), lahja.Buffer(-1))
		t.Errorf("it went on")
	}).wantFailure(t, "recording", "Buffer(-1)")
	within(func(t testing.TB) {
		lahjatest.Record[func()](t, lahjatest.NewBus(t).Endpoint("a"))
		t.Errorf("it went on")
	}).wantFailure(t, `recording func() at "a"`, "cannot be an event")
}

// rich has of each kind that is compared.
type rich struct {
	Text   string
	Bytes  []byte
	Ratio  float64
	When   time.Time
	Next   *rich
	Big    *big.Int
	Counts map[string]int
	Pair   [2]bool
	Parts  []order
	Mood   mood
}

// mood does not tell all.
type mood int

func (mood) String() string { return "fair" }

func full() rich {
	return rich{
		Text: "a", Bytes: []byte{1, 2}, Ratio: math.NaN(), When: time.Unix(9, 0).UTC(),
		Next: &rich{Text: "b"}, Big: big.NewInt(5), Counts: map[string]int{"x": 1, "y": 2},
		Pair: [2]bool{true, false}, Parts: []order{{Item: "rope", Tags: []string{"new"}}},
	}
}

func TestExpectComparesByField(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*rich)
		shown  string
	}{
		"text":   {func(r *rich) { r.Text = "z" }, `.Text: expected "a", received "z"`},
		"bytes":  {func(r *rich) { r.Bytes[1] = 9 }, `.Bytes: expected 0x0102, received 0x0109`},
		"ratio":  {func(r *rich) { r.Ratio = 2 }, `.Ratio: expected NaN, received 2`},
		"time":   {func(r *rich) { r.When = r.When.Add(1) }, `.When: expected 1970-01-01 00:00:09`},
		"next":   {func(r *rich) { r.Next.Text = "z" }, `.Next.Text: expected "b", received "z"`},
		"no one": {func(r *rich) { r.Next = nil }, `.Next: expected &{Text: "b"`},
		"big":    {func(r *rich) { r.Big = big.NewInt(6) }, `.Big: expected 5, received 6`},
		"map":    {func(r *rich) { r.Counts["x"] = 3 }, `.Counts["x"]: expected 1, received 3`},
		"less": {func(r *rich) { delete(r.Counts, "y") },
			`.Counts["y"]: expected 2, received nothing`},
		"more": {func(r *rich) { r.Counts["z"] = 0 },
			`.Counts["z"]: expected nothing, received 0`},
		"array": {func(r *rich) { r.Pair[1] = true }, `.Pair[1]: expected false, received true`},
		"deep": {func(r *rich) { r.Parts[0].Tags[0] = "old" },
			`.Parts[0].Tags[0]: expected "new", received "old"`},
		"shorter": {func(r *rich) { r.Parts[0].Tags = r.Parts[0].Tags[:0] },
			`.Parts[0].Tags[0]: expected "new", received nothing`},
		"mood": {func(r *rich) { r.Mood = 2 }, `.Mood: expected 0, received 2`},
		"longer": {func(r *rich) { r.Parts = append(r.Parts, order{}) },
			`.Parts[1]: expected nothing, received {Item: "", Count: 0, Tags: nil}`},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t testing.TB, bus *lahjatest.Bus) {
				a := bus.Endpoint("a")
				heard := lahjatest.Record[rich](t, a)
				must(t, lahja.Broadcast(t.Context(), a, full()))
				lahjatest.Expect(t, heard, time.Second, full())
				changed := full()
				c.change(&changed)
				must(t, lahja.Broadcast(t.Context(), a, changed))
				lahjatest.Expect(t, heard, time.Second, full())
			}, func(t *testing.T, test *fake) { test.wantFailure(t, c.shown) })
		})
	}
}

// What is too long to be shown is shown from where it differs.
func TestExpectShowsWhereLongValuesDiffer(t *testing.T) {
	much := strings.Repeat("x", 1000)
	within(func(t testing.TB) {
		a := lahjatest.NewBus(t).Endpoint("a")
		heard := lahjatest.Record[order](t, a)
		must(t, lahja.Broadcast(t.Context(), a, order{Item: much + "yes"}))
		lahjatest.Expect(t, heard, time.Minute, order{Item: much + "no"})
	}).wantFailure(t, `.Item: expected …xxx`, `xxno", received …xxx`, `xxyes"`)
}

// So is an event that has no fields.
func TestExpectOfWhatDoesNotTellAll(t *testing.T) {
	within(func(t testing.TB) {
		a := lahjatest.NewBus(t).Endpoint("a")
		heard := lahjatest.Record[mood](t, a)
		must(t, lahja.Broadcast(t.Context(), a, mood(1)))
		lahjatest.Expect(t, heard, time.Minute, mood(2))
	}).wantFailure(t, "  - 0  fair", "  + 0  fair", "it: expected 2, received 1")
}

// A long list shows what differs and a little around it.
func TestExpectShowsWhatDiffersOfMuch(t *testing.T) {
	var all []int
	for n := range 300 {
		all = append(all, n)
	}
	inBubble(t, func(t testing.TB, bus *lahjatest.Bus) {
		a := bus.Endpoint("a")
		heard := lahjatest.Record[number](t, a)
		say(t, a, all[:150]...)
		say(t, a, all[151:]...)
		lahjatest.Expect(t, heard, time.Second, numbers(all...)...)
	}, func(t *testing.T, test *fake) {
		test.wantFailure(t, "    … 148 as expected\n", "  - 150  {N: 150}\n",
			"    … 147 as expected")
	})
}

// A flood is not printed to its end.
func TestExpectShowsTheBeginningOfAFlood(t *testing.T) {
	inBubble(t, func(t testing.TB, bus *lahjatest.Bus) {
		a := bus.Endpoint("a")
		heard := lahjatest.Record[number](t, a)
		say(t, a, make([]int, 300)...)
		lahjatest.Expect(t, heard, time.Second)
	}, func(t *testing.T, test *fake) {
		test.wantFailure(t, "received 300", "  + 99  {N: 0}", "    … and 200 more")
		if strings.Contains(test.failures[0], "  + 100 ") {
			t.Errorf("it shows more: %s", test.failures[0])
		}
	})
}

// Expect does not wait for what cannot come any more, and says why it cannot.
func TestExpectAfterTheEndOfARecording(t *testing.T) {
	inBubble(t, func(t testing.TB, bus *lahjatest.Bus) {
		a := bus.Endpoint("a")
		heard := lahjatest.Record[number](t, a)
		say(t, a, 1)
		lahjatest.Expect(t, heard, time.Second, number{1})
		begun := time.Now()
		time.AfterFunc(time.Second, func() { a.Close() })
		defer func() {
			if took := time.Since(begun); took > 2*time.Second {
				t.Errorf("it has waited %v", took)
			}
		}()
		lahjatest.Expect(t, heard, time.Hour, number{2})
	}, func(t *testing.T, test *fake) {
		test.wantFailure(t, `recording has ended: lahja: closed: endpoint "a" was closed`,
			"  - 0  {N: 2}")
	})
}

// Also when that is why there are no more.
func TestExpectMoreThanTake(t *testing.T) {
	within(func(t testing.TB) {
		a := lahjatest.NewBus(t).Endpoint("a")
		heard := lahjatest.Record[number](t, a, lahja.Take(1))
		say(t, a, 1, 2)
		lahjatest.Expect(t, heard, time.Hour, numbers(1, 2)...)
	}).wantFailure(t, "recording has ended, with as many as lahja.Take says:", "  - 1  {N: 2}")
}

// In a bubble what takes no time has arrived within no time.
func TestExpectWithinNoTime(t *testing.T) {
	inBubble(t, func(t testing.TB, bus *lahjatest.Bus) {
		a, b := bus.Endpoint("a"), bus.Endpoint("b")
		heard := lahjatest.Record[number](t, b)
		say(t, a, 1)
		lahjatest.Expect(t, heard, 0, number{1})
	}, func(t *testing.T, test *fake) { test.wantNoFailure(t) })
}

// A test that has failed is not told again of what came too late.
func TestExpectFailsOnce(t *testing.T) {
	inBubble(t, func(t testing.TB, bus *lahjatest.Bus) {
		a := bus.Endpoint("a")
		heard := lahjatest.Record[number](t, a)
		defer say(t, a, 1)
		lahjatest.Expect(t, heard, time.Second, number{1})
	}, func(t *testing.T, test *fake) { test.wantFailure(t, "received 0 within 1s") })
}

// What has arrived when the test ends is recorded, although its handler has not run yet.
func TestRecordKeepsWhatHasArrivedAtTheEnd(t *testing.T) {
	const many = 1000
	for _, setup := range lahjatest.Transports() {
		t.Run(setup.Name, func(t *testing.T) {
			var heard *lahjatest.Recording[number]
			within(func(t testing.TB) {
				a := setup.NewBus(t).Endpoint("a")
				heard = lahjatest.Record[number](t, a)
				say(t, a, make([]int, many)...)
			}).wantNoFailure(t)
			if n := len(heard.Events()); n != many {
				t.Errorf("%d were recorded of %d", n, many)
			}
		})
	}
}

// So what has come after all fails the test also if it came at the last moment.
func TestExpectIsStrictToTheEnd(t *testing.T) {
	within(func(t testing.TB) {
		a := lahjatest.NewBus(t).Endpoint("a")
		heard := lahjatest.Record[number](t, a)
		lahjatest.Expect(t, heard, 0)
		say(t, a, 1)
	}).wantFailure(t, "came after all that was expected", `  + 0  {N: 1} from "a"`)
}
