package lahja_test

import (
	"maps"
	"testing"

	"github.com/lahja-go/lahja"
)

// The checks of the properties of groups, of what is retained, of drops, answers and presence can
// fail, too.

func TestPropertyCheckerSeesGroups(t *testing.T) {
	for name, c := range map[string]struct {
		seen      map[int]int
		must, may []int
		ok        bool
	}{
		"each once":            {map[int]int{1: 1, 2: 1, 3: 1}, []int{1, 2}, []int{3, 4}, true},
		"one twice":            {map[int]int{1: 2, 2: 1}, []int{1, 2}, nil, false},
		"one missing":          {map[int]int{1: 1}, []int{1, 2}, nil, false},
		"one that failed":      {map[int]int{1: 1, 5: 1}, []int{1}, nil, false},
		"a lost request twice": {map[int]int{1: 1, 3: 2}, []int{1}, []int{3}, false},
	} {
		y := newTally()
		maps.Copy(y.seen, c.seen)
		if err := y.check(c.must, c.may); (err == nil) != c.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestPropertyCheckerSeesRetained(t *testing.T) {
	at := keptAt{"a", "x"}
	put := func(n int, began int64) change {
		return change{N: n, began: began, returned: began + 1, arrived: began + 1}
	}
	end := func(began int64) change {
		return change{Gone: true, began: began, returned: began + 1, arrived: began + 1}
	}
	log := []change{put(1, 1), put(2, 3), end(5), put(3, 10), put(4, 30)}
	early := log[:2] // the log up to a subscription at [6, 20]
	for name, c := range map[string]struct {
		began, returned int64
		log, got        []change
		ok              bool
	}{
		"what is kept, and all after":      {4, 5, log[1:], log[1:], true},
		"the latest alone":                 {6, 20, early, early[1:], true},
		"what was replaced before":         {6, 20, early, early, false},
		"a gap between the two":            {6, 7, log, []change{log[0], log[3]}, false},
		"a double between the two":         {6, 20, early, []change{early[1], early[1]}, false},
		"what ended before":                {7, 8, log, log[2:], false},
		"nothing of what ended before":     {7, 8, log, log[3:], true},
		"during a change, without it":      {9, 20, log, log[3:], true},
		"during a change, with the former": {3, 4, log[:2], log[:2], true},
		"the end is missing":               {4, 4, log[:3], log[1:2], false},
		"the last is missing":              {7, 8, log, log[3:4], false},
		"nothing":                          {7, 8, log, nil, false},
		"two that changed places":          {7, 8, log, []change{log[4], log[3]}, false},
	} {
		v := &visit{name: "b", began: c.began, returned: c.returned,
			got: map[keptAt][]change{at: c.got}}
		if err := v.check(at, c.log); (err == nil) != c.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
	unknown := &library{visits: []*visit{{name: "b", returned: 2,
		got: map[keptAt][]change{at: {put(1, 1)}}}}}
	if unknown.check() == nil {
		t.Error("not noticed: a value that was never kept")
	}
}

func TestPropertyCheckerSeesDrops(t *testing.T) {
	type seen struct {
		n      int
		missed uint64
	}
	for name, all := range map[string][]seen{
		"more than was sent":  {{1, 0}, {2, 0}, {3, 0}, {4, 0}},
		"a drop told twice":   {{1, 0}, {3, 1}, {4, 1}},
		"a double":            {{1, 0}, {1, 0}},
		"two changed places":  {{2, 1}, {1, 0}},
		"one that was missed": {{3, 3}},
	} {
		a := &account{total: 3, last: map[string]int{}}
		noticed := false
		for _, s := range all {
			noticed = noticed || a.add("a", s.n, s.missed) != nil
		}
		if !noticed {
			t.Errorf("not noticed: %s", name)
		}
	}
	a := &account{total: 3, last: map[string]int{}}
	if err := a.add("a", 3, 1); err != nil || a.sum == a.total {
		t.Errorf("a drop that is not told: %v, %+v", err, a)
	}
}

func TestPropertyCheckerSeesAnswers(t *testing.T) {
	remote := func(code lahja.Code) error { return &lahja.RemoteError{Endpoint: "a", Code: code} }
	for name, c := range map[string]struct {
		manners []manner
		value   reply
		err     error
		ok      bool
	}{
		"an answer":            {[]manner{answers, observes}, reply{"a", 7}, nil, true},
		"the first of two":     {[]manner{answers, refuses}, reply{}, remote(errRefused), true},
		"silence":              {[]manner{isSilent}, reply{}, lahja.ErrResponderGone, true},
		"an answer to another": {[]manner{answers}, reply{"a", 8}, nil, false},
		"an answer of nobody":  {[]manner{isSilent}, reply{"a", 7}, nil, false},
		"silence of one who answers": {
			[]manner{answers, isSilent}, reply{}, lahja.ErrResponderGone, false},
		"a refusal that was not made": {[]manner{answers}, reply{}, remote(errRefused), false},
		"a refusal without a name":    {[]manner{refuses}, reply{}, errRefused, false},
		"an outcome of who only looks": {[]manner{observes}, reply{}, lahja.ErrResponderGone,
			false},
		"another type of one who answers": {
			[]manner{answers, answersOther}, reply{}, remote(lahja.ErrUnexpectedResponse), false},
	} {
		if err := ofManner(c.manners, c.value, c.err); (err == nil) != c.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestPropertyCheckerSeesPresence(t *testing.T) {
	there := map[string][]string{"a": {"x"}, "b": {"x", "y"}}
	a := lahja.Peer{Name: "a", Events: []string{"x"}}
	b := lahja.Peer{Name: "b", Events: []string{"x", "y"}}
	if err := meets(lahja.Peers{a, b}, "a", there); err != nil {
		t.Error(err)
	}
	for _, view := range []lahja.Peers{
		nil, {a}, {b, a}, {a, b, b}, {a, {Name: "b"}}, {a, b, {Name: "c"}},
		{a, {Name: "b", Events: []string{"x", "y", "z"}}},
	} {
		if meets(view, "a", there) == nil {
			t.Errorf("not noticed: %v", view)
		}
	}
	on, off := lahja.State{Connected: true}, lahja.State{Err: lahja.ErrClosed}
	for _, states := range [][]lahja.State{{on, off}, {off}} {
		if err := checkStates(states); err != nil {
			t.Error(err)
		}
	}
	for _, states := range [][]lahja.State{
		nil, {on}, {off, on}, {on, on, off}, {on, off, off}, {on, {}},
		{on, {Err: lahja.ErrStalled}},
	} {
		if checkStates(states) == nil {
			t.Errorf("not noticed: %v", states)
		}
	}
}
