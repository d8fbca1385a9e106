package lahja_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"github.com/lahja-go/lahja"
)

// A model of what is retained: of each origin and key, a log of the values and of their ends. A
// subscription gets the log from one moment of its Subscribe call on: first the value that was
// kept at that moment, if one was, then everything after.

// place where a value is kept.
type keptAt struct{ Origin, Key string }

// change is a value that was retained, or the end of one.
type change struct {
	N               int
	Gone            bool
	began, returned int64 // by the library's clock
	arrived         int64 // when the bus has it for certain; 0: not yet
}

// library runs a case of what is retained.
type library struct {
	w       *world
	readers sync.WaitGroup

	mu      sync.Mutex // guards what follows
	clock   int64
	n       int
	log     map[keptAt][]change
	visits  []*visit
	changed chan struct{}
	failure error
}

// visit is a subscription WithRetained.
type visit struct {
	name            string
	began, returned int64
	got             map[keptAt][]change
}

// retaining is one act of a case.
type retaining struct {
	Do     string // keep, plain, forget, visit or close
	Key    string
	Buffer int
}

// shelf is a case: for each endpoint, what it does, one act after the other.
type shelf struct {
	Slots []slot
	Acts  [][]retaining
}

func shelves() *rapid.Generator[shelf] {
	act := rapid.Custom(func(t *rapid.T) retaining {
		return retaining{
			Do: rapid.SampledFrom([]string{"keep", "keep", "keep", "keep", "forget", "visit",
				"visit", "plain", "close"}).Draw(t, "do"),
			Key:    rapid.SampledFrom([]string{"", "x", "y"}).Draw(t, "key"),
			Buffer: rapid.IntRange(0, 2).Draw(t, "buffer"),
		}
	})
	return rapid.Custom(func(t *rapid.T) (s shelf) {
		for i := range rapid.IntRange(2, 4).Draw(t, "endpoints") {
			s.Slots = append(s.Slots, slot{string(rune('a' + i)), rapid.Bool().Draw(t, "remote")})
			s.Acts = append(s.Acts, rapid.SliceOfN(act, 1, 10).Draw(t, "acts"))
		}
		return s
	})
}

func (l *library) now() int64 {
	l.clock++
	return l.clock
}

// write calls f, which changes what is kept of ep under key, and notes it; n < 0: it ends.
func (l *library) write(at keptAt, gone bool, f func(n int) error) {
	l.mu.Lock()
	l.n++
	c := change{N: l.n, Gone: gone, began: l.now()}
	l.mu.Unlock()
	err := f(c.N)
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil {
		l.failure = fmt.Errorf("changing %v: %w", at, err)
	}
	c.returned = l.now()
	if !l.w.slots[int(at.Origin[0]-'a')].Remote || l.w.place == nil {
		c.arrived = c.returned
	}
	if entries := l.log[at]; !gone || len(entries) > 0 && !entries[len(entries)-1].Gone {
		l.log[at] = append(entries, c)
	}
}

func (l *library) do(slot int, a retaining) (closed bool) {
	e := l.w.current[slot]
	at := keptAt{e.name, a.Key}
	opt := lahja.RetainKey(a.Key)
	if a.Key == "" {
		opt = lahja.Retain()
	}
	switch a.Do {
	case "keep":
		l.write(at, false, func(n int) error {
			return lahja.Broadcast(l.w.ctx, e.ep, red{e.name, n}, opt)
		})
	case "plain":
		l.write(keptAt{e.name, "plain"}, false, func(n int) error {
			return lahja.Broadcast(l.w.ctx, e.ep, red{e.name, -n})
		})
	case "forget":
		l.write(at, true, func(int) error { return lahja.Forget[red](l.w.ctx, e.ep, a.Key) })
	case "visit":
		l.visit(e, a.Buffer)
	case "close":
		l.close(e)
		return true
	}
	return false
}

// arrived notes that the bus has all that e has changed before now, which e has made sure of.
func (l *library) arrived(e *endpoint) {
	for at, log := range l.log {
		for i := range log {
			if at.Origin == e.name && log[i].arrived == 0 {
				log[i].arrived = l.now()
			}
		}
	}
}

// close ends all that an endpoint has kept.
func (l *library) close(e *endpoint) {
	l.mu.Lock()
	began := l.now()
	l.mu.Unlock()
	e.ep.Close()
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, key := range []string{"", "x", "y"} {
		at := keptAt{e.name, key}
		if entries := l.log[at]; len(entries) > 0 && !entries[len(entries)-1].Gone {
			l.log[at] = append(entries, change{Gone: true, began: began, returned: l.now()})
		}
	}
	l.arrived(e)
	for _, v := range l.visits {
		if v.name == e.name {
			v.returned = 0 // it has ended
		}
	}
}

// visit subscribes and reads.
func (l *library) visit(e *endpoint, buffer int) {
	v := &visit{name: e.name, got: map[keptAt][]change{}}
	l.mu.Lock()
	v.began = l.now()
	l.mu.Unlock()
	ch := lahja.Stream[red](l.w.ctx, e.ep, lahja.WithRetained(), lahja.Buffer(buffer))
	l.mu.Lock()
	defer l.mu.Unlock()
	v.returned = l.now()
	l.arrived(e) // for it is subscribed in the order of its events
	l.visits = append(l.visits, v)
	l.readers.Go(func() {
		for ev := range ch {
			l.mu.Lock()
			at, c := keptAt{ev.Origin, ev.Key}, change{N: ev.Value.N, Gone: ev.Gone}
			if c.N < 0 {
				at.Key, c.N = "plain", -c.N
			}
			v.got[at] = append(v.got[at], c)
			close(l.changed)
			l.changed = make(chan struct{})
			l.mu.Unlock()
		}
	})
}

// check holds that v has got what it must of one log.
func (v *visit) check(at keptAt, log []change) error {
	got := v.got[at]
	before := func(c change) bool { // Subscribe began when c was made for certain
		return c.arrived != 0 && c.arrived < v.began || at.Origin == v.name && c.returned < v.began
	}
	for m := -1; m < len(log); m++ { // the last change before the moment from which v counts
		if m >= 0 && log[m].began > v.returned || m+1 < len(log) && before(log[m+1]) {
			continue
		}
		rest := log[m+1:]
		if m >= 0 && !log[m].Gone && at.Key != "plain" {
			rest = log[m:]
		}
		if slices.EqualFunc(got, rest, func(a, b change) bool {
			return a.Gone == b.Gone && (a.Gone || a.N == b.N)
		}) {
			return nil
		}
	}
	return fmt.Errorf("subscription [%d, %d] of %q got %v of %v, where the log is %v",
		v.began, v.returned, v.name, got, at, log)
}

func (l *library) check() error {
	for _, v := range l.visits {
		if v.returned == 0 {
			continue
		}
		for at, log := range l.log {
			if err := v.check(at, log); err != nil {
				return err
			}
		}
		for at := range v.got {
			if l.log[at] == nil {
				return fmt.Errorf("subscription of %q got %v of %v, which was never kept",
					v.name, v.got[at], at)
			}
		}
	}
	return nil
}

// run runs a case, and waits until every subscription shows what it must.
func (l *library) run(s shelf) error {
	for i := range s.Slots {
		opening{i}.do(l.w)
	}
	var acting sync.WaitGroup
	for i, acts := range s.Acts {
		acting.Go(func() {
			for _, a := range acts {
				if l.do(i, a) {
					return
				}
			}
		})
	}
	acting.Wait()
	for {
		l.mu.Lock()
		err, changed := l.check(), l.changed
		err = errors.Join(l.failure, err)
		l.mu.Unlock()
		if err == nil {
			break
		}
		select {
		case <-changed:
		case <-l.w.ctx.Done():
			return err
		}
	}
	return nil
}

// retain runs a case at p.
func (p *place) retain(dir string, s shelf) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	w, err := p.open(ctx, dir, &script{Slots: s.Slots})
	if err != nil {
		return err
	}
	l := &library{w: w, log: map[keptAt][]change{}, changed: make(chan struct{})}
	err = l.run(s)
	w.close()
	l.readers.Wait()
	return errors.Join(err, w.failure)
}

// State: what is kept comes first and everything else after it, with no gap and no double between
// them, whenever somebody subscribes; and the end of what was kept, when it is forgotten or its
// owner ends.
func TestPropertyRetained(t *testing.T) {
	everywhere(t, func(t *rapid.T, p *place, dir string) {
		s := shelves().Draw(t, "shelf")
		for i := range s.Acts { // what would come too much shows before this, the last
			s.Acts[i] = append(s.Acts[i], retaining{Do: "keep"})
		}
		for range 2 {
			if err := p.retain(dir, s); err != nil {
				t.Fatal(err)
			}
		}
	})
}
