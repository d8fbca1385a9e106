package router

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// model is a Table as lists that are searched.
type model struct {
	table   *Table
	parties []*Party
	left    []*Party
	subs    []*Sub // of those in parties
	lastID  uint64
}

var (
	names  = rapid.SampledFrom([]string{"a", "b", "c", "d"})
	events = rapid.SampledFrom([]string{"red", "green", "blue"})
)

// Routing: the table finds exactly the subscriptions that are there, whatever came and went.
func TestPropertyTable(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := &model{table: New()}
		t.Repeat(map[string]func(*rapid.T){
			"join":   m.join,
			"leave":  m.leave,
			"add":    m.add,
			"more":   m.add,
			"remove": m.remove,
			"":       m.check,
		})
	})
}

func (m *model) join(t *rapid.T) {
	m.lastID++
	p := &Party{ID: m.lastID, Name: names.Draw(t, "name")}
	free := !slices.ContainsFunc(m.parties, func(q *Party) bool { return q.Name == p.Name })
	if got := m.table.Join(p); got != free {
		t.Fatalf("Join(%q) is %v", p.Name, got)
	}
	if free {
		m.parties = append(m.parties, p)
	} else {
		m.left = append(m.left, p)
	}
}

// party draws a party, mostly one that has joined.
func (m *model) party(t *rapid.T) (p *Party, joined bool) {
	list := m.parties
	if len(list) == 0 || len(m.left) > 0 && rapid.IntRange(0, 9).Draw(t, "absent") == 0 {
		list = m.left
	}
	if len(list) == 0 {
		t.Skip("nobody was ever there")
	}
	p = rapid.SampledFrom(list).Draw(t, "party")
	return p, slices.Contains(m.parties, p)
}

func (m *model) leave(t *rapid.T) {
	p, joined := m.party(t)
	got := m.table.Leave(p)
	if !joined {
		if got != nil {
			t.Fatalf("one that was not there has left %v", got)
		}
		return
	}
	var want []*Sub
	m.subs = slices.DeleteFunc(m.subs, func(s *Sub) bool {
		if s.Party == p {
			want = append(want, s)
		}
		return s.Party == p
	})
	missing := func(s *Sub) bool { return !slices.Contains(got, s) }
	if len(got) != len(want) || slices.ContainsFunc(want, missing) {
		t.Fatalf("it has left %v, where %v is due", got, want)
	}
	m.parties = slices.DeleteFunc(m.parties, func(q *Party) bool { return q == p })
	m.left = append(m.left, p)
}

func (m *model) add(t *rapid.T) {
	p, joined := m.party(t)
	s := &Sub{ID: rapid.Uint64Range(1, 5).Draw(t, "id"), Party: p, Event: events.Draw(t, "event")}
	s.Observe = rapid.Bool().Draw(t, "observe")
	if rapid.Bool().Draw(t, "from") {
		s.From = rapid.SliceOf(names).Draw(t, "origins")
	}
	want := joined && m.find(p, s.ID) == nil
	if got := m.table.Add(s); got != want {
		t.Fatalf("Add of %d by %q is %v", s.ID, p.Name, got)
	}
	if want {
		m.subs = append(m.subs, s)
	}
}

func (m *model) find(p *Party, id uint64) *Sub {
	for _, s := range m.subs {
		if s.Party == p && s.ID == id {
			return s
		}
	}
	return nil
}

func (m *model) remove(t *rapid.T) {
	p, _ := m.party(t)
	id := rapid.Uint64Range(1, 5).Draw(t, "id")
	want := m.find(p, id)
	if got := m.table.Remove(p, id); got != want {
		t.Fatalf("Remove of %d of %q returned %+v, where %+v is due", id, p.Name, got, want)
	}
	m.subs = slices.DeleteFunc(m.subs, func(s *Sub) bool { return s == want })
}

func (m *model) check(t *rapid.T) {
	for _, event := range []string{"red", "green", "blue"} {
		got := m.table.Subs(event)
		count := 0
		for _, s := range m.subs {
			if s.Event != event {
				continue
			}
			count++
			if !slices.Contains(got, s) || m.table.Sub(s.Party, s.ID) != s {
				t.Fatalf("%+v is not found", s)
			}
		}
		if len(got) != count {
			t.Fatalf("%d subscriptions to %s are found, where %d are there", len(got), event, count)
		}
	}
	var there []*Party
	m.table.Parties(func(p *Party) { there = append(there, p) })
	if len(there) != len(m.parties) {
		t.Fatalf("%d parties are found, where %d are there", len(there), len(m.parties))
	}
	for _, p := range m.parties {
		if m.table.Find(p.Name) != p || !slices.Contains(there, p) {
			t.Fatalf("%q is not found", p.Name)
		}
		m.checkEvents(t, p)
	}
}

func (m *model) checkEvents(t *rapid.T, p *Party) {
	var want []string
	for _, event := range []string{"blue", "green", "red"} {
		if slices.ContainsFunc(m.subs, func(s *Sub) bool {
			return s.Party == p && s.Event == event && !s.Observe
		}) {
			want = append(want, event)
		}
	}
	if got := p.Events(); !slices.Equal(got, want) {
		t.Fatalf("%q is seen with %v, where %v is due", p.Name, got, want)
	}
}

// Routing: what To, Except and From say, one name at a time.
func TestFilters(t *testing.T) {
	for _, c := range []struct {
		what string
		f    Filter
		want bool
	}{
		{"everybody", Filter{}, true},
		{"named", Filter{HasTo: true, To: []string{"b", "a"}}, true},
		{"not named", Filter{HasTo: true, To: []string{"b"}}, false},
		{"nobody", Filter{HasTo: true}, false},
		{"excepted", Filter{Except: []string{"b", "a"}}, false},
		{"others excepted", Filter{Except: []string{"b"}}, true},
		{"named and excepted", Filter{HasTo: true, To: []string{"a"}, Except: []string{"a"}},
			false},
		{"named in part", Filter{HasTo: true, To: []string{"ab"}}, false},
	} {
		if got := c.f.Selects("a"); got != c.want {
			t.Errorf("%s: %v", c.what, got)
		}
	}
	for _, c := range []struct {
		what string
		from []string
		want bool
	}{
		{"all", nil, true}, {"none", []string{}, false},
		{"one of two", []string{"b", "a"}, true}, {"another", []string{"b"}, false},
	} {
		table, p := New(), &Party{Name: "p"}
		table.Join(p)
		s := &Sub{Party: p, From: c.from}
		table.Add(s)
		if got := s.Accepts("a"); got != c.want {
			t.Errorf("from %s: %v", c.what, got)
		}
	}
}
