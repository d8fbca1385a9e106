package main

import (
	"testing"
)

// reaches reports whether a sink that gets messages with these numbers is content.
func reaches(t *testing.T, size int, numbers ...uint64) bool {
	t.Helper()
	s := newSink(8)
	s.target.Store(3)
	for _, n := range numbers {
		m := newMessage(size)
		m.stamp(n)
		data, err := encoded(m)
		if err != nil {
			t.Fatal(err)
		}
		s.takeEncoded(data)
	}
	select {
	case err := <-s.reached:
		return err == nil
	default:
		return false
	}
}

// What is missing, doubled, out of order or of another size is noticed.
func TestSink(t *testing.T) {
	if !reaches(t, 8, probe, 1, 2, 3) {
		t.Error("all have come, and the sink is not content")
	}
	for _, numbers := range [][]uint64{{1, 2}, {1, 3}, {1, 1, 2, 3}, {2, 1, 3}} {
		if reaches(t, 8, numbers...) {
			t.Errorf("the sink is content with %v", numbers)
		}
	}
	if reaches(t, 7, 1, 2, 3) {
		t.Error("the sink is content with messages that are too short")
	}
}

// The same for who gets events within the process.
func TestCounter(t *testing.T) {
	for _, c := range []struct {
		numbers []uint64
		want    bool
	}{
		{[]uint64{0, 1, 2}, true}, {[]uint64{0, 2}, false}, {[]uint64{0, 0, 1, 2}, false},
	} {
		k := &counter{reached: make(chan error, 1)}
		k.target.Store(2)
		for _, n := range c.numbers {
			k.take(n)
		}
		content := false
		select {
		case err := <-k.reached:
			content = err == nil
		default:
		}
		if content != c.want {
			t.Errorf("with %v: %v", c.numbers, content)
		}
	}
}

// Ratios are taken round by round, the right way round, without rounds that have failed.
func TestRatio(t *testing.T) {
	f := ratio([]float64{2, 4, 0, 30}, []float64{1, 1, 1, 10}, false)
	if want := (figures{3, 2, 4}); f != want {
		t.Errorf("ratios of times are %v, not %v", f, want)
	}
	f = ratio([]float64{2, 4, 0, 10}, []float64{1, 1, 1, 10}, true)
	if want := (figures{0.5, 0.25, 1}); f != want {
		t.Errorf("ratios of rates are %v, not %v", f, want)
	}
	if f := ratio([]float64{0}, []float64{1}, true); !f.none() {
		t.Errorf("what has failed is %v", f)
	}
}

// A goal is reached on its own side of the limit only.
func TestGoal(t *testing.T) {
	c := &benchCase{Name: "c"}
	tables := map[string]*table{"c": {c, map[string][]*result{
		"slow": {{Value: 20}}, "fast": {{Value: 10}},
	}}}
	slow, fast := place{"c", "slow"}, []place{{"c", "fast"}}
	for _, g := range []struct {
		goal
		want bool
	}{
		{goal{of: slow, against: fast, limit: 2}, true},
		{goal{of: slow, against: fast, limit: 1.9}, false},
		{goal{of: slow, against: fast, limit: 0.5, rate: true}, true},
		{goal{of: slow, against: fast, limit: 0.6, rate: true}, false},
		{goal{of: slow, against: fast, limit: 0.2, times: 10}, true},
		{goal{of: slow, against: fast, limit: 0.1, times: 10}, false},
		{goal{of: slow, limit: 19, figure: true}, false},
		{goal{of: slow, limit: 20, figure: true}, true},
	} {
		if _, ok, known := g.reached(tables); ok != g.want || !known {
			t.Errorf("%+v: reached %v, known %v", g.goal, ok, known)
		}
	}
	if _, _, known := (&goal{of: place{"other", "slow"}, limit: 1}).reached(tables); known {
		t.Error("what was not measured is known")
	}
}

// Every goal speaks of rows that there are.
func TestGoalsSpeakOfRows(t *testing.T) {
	rows := map[place]bool{}
	for _, c := range cases(false) {
		for _, r := range c.Rows {
			if rows[place{c.Name, r.Label}] {
				t.Errorf("%s has two rows %q", c.Name, r.Label)
			}
			rows[place{c.Name, r.Label}] = true
			if r.Base != "" && !rows[place{c.Name, r.Base}] {
				t.Errorf("%s: %q is compared with %q, which does not come before it",
					c.Name, r.Label, r.Base)
			}
		}
	}
	for _, g := range goals() {
		for _, p := range append(g.against, g.of) {
			if !rows[p] {
				t.Errorf("a goal speaks of %v, which is no row", p)
			}
		}
	}
}

// That nothing is chosen is an error; a case of which no row is chosen is left out.
func TestChoose(t *testing.T) {
	for _, c := range []struct {
		name, label string
		cases       int
	}{
		{"^request/", "^NATS$", 2}, {"^local/1$", "", 1}, {"", "^zmq4 tcp$", 8},
		{"^nosuch$", "", 0}, {"", "^nosuch$", 0}, {"^local/1$", "^NATS$", 0},
	} {
		chosen, err := choose(cases(false), c.name, c.label)
		if len(chosen) != c.cases || (err == nil) != (c.cases > 0) {
			t.Errorf("%q and %q choose %d cases: %v", c.name, c.label, len(chosen), err)
		}
	}
}
