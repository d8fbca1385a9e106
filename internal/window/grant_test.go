package window

import (
	"testing"

	"pgregory.net/rapid"
)

// remote is a publisher elsewhere with the links to it and from it, one message after the other.
type remote struct {
	account  *Account
	due      bool    // the publisher is to be told its grant
	up, down []frame // on their way
	window   int64   // as the publisher knows it
	used     int64   // as the publisher knows it
	admitted []int64 // admitted there and not yet sent
	arrived  []int64 // here and not yet taken
	closed   bool
}

// frame is an event, the report that one was taken, a grant, or its acknowledgement.
type frame struct {
	size, change int64
	grant        bool
}

// simulation is a Pool with publishers elsewhere and one here.
type simulation struct {
	pool    *Pool
	limit   int64
	remotes []*remote
	local   *Account
	held    []int64
}

// Bounded memory, for publishers elsewhere: what they are granted and what is outstanding stays
// within the limit, but for one event of each and what was admitted under a grant that has shrunk;
// an honest publisher is never taken for another, whatever overtakes what; and when it is alone
// it gets a window again that lets it go on.
func TestPropertyRemote(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := &simulation{limit: rapid.SampledFrom([]int64{10, 100, 100, 3 * step}).Draw(t, "limit")}
		s.pool = NewPool(s.limit, 0)
		s.local = s.pool.Open()
		for range rapid.IntRange(1, 3).Draw(t, "publishers") {
			r := &remote{}
			r.account = s.pool.OpenRemote(func() { r.due = true })
			s.remotes = append(s.remotes, r)
			r.admit(s.size(t))
			s.drain(t)
		}
		t.Repeat(map[string]func(*rapid.T){
			"admit": s.admit,
			"more":  s.admit,
			"rest":  func(t *rapid.T) { s.drain(t) },
			"send":  func(t *rapid.T) { s.any(t).send() },
			"up":    func(t *rapid.T) { s.any(t).arrive(t) },
			"down":  func(t *rapid.T) { s.any(t).hear() },
			"pull":  func(t *rapid.T) { s.any(t).pull() },
			"take":  func(t *rapid.T) { s.any(t).take() },
			"here":  s.here,
			"close": s.close,
			"":      func(t *rapid.T) { s.check(t) },
		})
		s.finish(t)
	})
}

// failer is a *rapid.T or a *testing.T.
type failer interface {
	Fatal(args ...any)
	Fatalf(format string, args ...any)
}

func (s *simulation) any(t *rapid.T) *remote {
	return rapid.SampledFrom(s.remotes).Draw(t, "publisher")
}

func (s *simulation) size(t *rapid.T) int64 {
	return rapid.Int64Range(1, max(5, s.limit/3)).Draw(t, "size")
}

// admit lets the publisher admit an event, if its window allows.
func (s *simulation) admit(t *rapid.T) {
	s.any(t).admit(s.size(t))
}

func (r *remote) admit(size int64) bool {
	if r.closed || r.used > 0 && r.used+size > r.window {
		return false
	}
	r.used += size
	r.admitted = append(r.admitted, size)
	return true
}

// send sends the next event that was admitted.
func (r *remote) send() {
	if len(r.admitted) > 0 {
		r.up = append(r.up, frame{size: r.admitted[0]})
		r.admitted = r.admitted[1:]
	}
}

// arrive handles the next message of the publisher.
func (r *remote) arrive(t failer) {
	if len(r.up) == 0 {
		return
	}
	f := r.up[0]
	r.up = r.up[1:]
	switch {
	case f.grant:
		r.account.Acknowledge(uint64(f.change))
	case !r.account.Arrived(f.size):
		t.Fatalf("%d bytes arrive after %v, which exceeds %d", f.size, r.arrived, r.account.grant)
	default:
		r.arrived = append(r.arrived, f.size)
	}
}

// pull sends the grant that is due.
func (r *remote) pull() {
	if r.due {
		r.due = false
		bytes, change := r.account.Grant()
		r.down = append(r.down, frame{size: bytes, change: int64(change), grant: true})
	}
}

// hear lets the publisher handle the next message to it.
func (r *remote) hear() {
	if len(r.down) == 0 {
		return
	}
	f := r.down[0]
	r.down = r.down[1:]
	if !f.grant {
		r.used -= f.size
		return
	}
	r.window = f.size
	r.up = append(r.up, f)
}

// take lets go of the event that arrived first.
func (r *remote) take() {
	if len(r.arrived) > 0 {
		r.account.Release(r.arrived[0])
		r.down = append(r.down, frame{size: r.arrived[0]})
		r.arrived = r.arrived[1:]
	}
}

func (r *remote) idle() bool {
	return len(r.admitted) == 0 && len(r.up) == 0 && len(r.down) == 0 &&
		len(r.arrived) == 0 && !r.due
}

// here lets the publisher of this process acquire or release.
func (s *simulation) here(t *rapid.T) {
	if len(s.held) > 0 && rapid.Bool().Draw(t, "release") {
		s.local.Release(s.held[0])
		s.held = s.held[1:]
		return
	}
	size := s.size(t)
	idle, before := len(s.held) == 0, s.pool.Reserved()
	if s.local.TryAcquire(size) {
		s.held = append(s.held, size)
		if !idle && before+size > s.limit {
			t.Fatalf("%d bytes are admitted on top of %d, where the limit is %d", size, before,
				s.limit)
		}
	}
}

func (s *simulation) close(t *rapid.T) {
	if rapid.IntRange(0, 9).Draw(t, "close") > 0 {
		t.Skip("rarely")
	}
	r := s.any(t)
	r.closed = true
	r.account.Close(errClosed)
	r.up, r.admitted, r.due = nil, nil, false
}

// check checks the sums: each publisher is counted with the larger of its grant and what it uses.
func (s *simulation) check(t failer) {
	sum, grants := s.local.Used(), int64(0)
	for i, r := range s.remotes {
		a := r.account
		var used int64
		for _, size := range r.arrived {
			used += size
		}
		if a.Used() != used {
			t.Fatalf("publisher %d: %d bytes used, where %d have arrived", i, a.Used(), used)
		}
		sum += max(used, a.grant)
		grants += a.grant
		if !r.closed && r.window > a.grant && a.asked < 0 && r.idle() {
			t.Fatalf("publisher %d uses a window of %d, where %d are granted", i, r.window, a.grant)
		}
	}
	if got := s.pool.Reserved(); got != sum {
		t.Fatalf("%d bytes are reserved, where the publishers have %d", got, sum)
	}
	if grants > s.limit {
		t.Fatalf("%d bytes are granted, where the limit is %d", grants, s.limit)
	}
}

// drain lets everything arrive and be taken.
func (s *simulation) drain(t failer) {
	for range 1000 {
		idle := true
		for _, r := range s.remotes {
			r.send()
			r.arrive(t)
			r.pull()
			r.hear()
			r.take()
			idle = idle && r.idle()
		}
		if idle {
			return
		}
	}
	t.Fatal("the publishers and the pool do not come to rest")
}

// finish checks that a publisher that is alone comes by a window: it sends small events, and does
// not wait for one to be taken before the next for good.
func (s *simulation) finish(t *rapid.T) {
	for _, size := range s.held {
		s.local.Release(size)
	}
	s.held = nil
	s.drain(t)
	r := s.remotes[0]
	if r.closed {
		return
	}
	for range 20 {
		for r.admit(max(1, s.limit/10)) {
			r.send()
			r.arrive(t) // nothing is taken yet
		}
		s.drain(t)
		s.check(t)
	}
	if r.window < s.limit/2 {
		t.Fatalf("a publisher that is alone has a window of %d, where the limit is %d", r.window,
			s.limit)
	}
}

// What a publisher has admitted before it learns of a smaller grant may arrive after it has
// acknowledged that.
func TestShrunkGrant(t *testing.T) {
	s := &simulation{limit: 100, pool: NewPool(100, 0)}
	s.local = s.pool.Open()
	for range 2 {
		r := &remote{}
		r.account = s.pool.OpenRemote(func() { r.due = true })
		s.remotes = append(s.remotes, r)
	}
	early, late := s.remotes[0], s.remotes[1]
	early.admit(10)
	s.drain(t) // early has a window now
	early.admit(50)
	early.admit(30)
	late.admit(10)
	late.send()
	late.arrive(t)
	early.pull()
	early.hear()
	if early.window != 0 || len(early.admitted) != 2 {
		t.Fatalf("%d events are admitted, then the window is %d", len(early.admitted), early.window)
	}
	early.arrive(t) // the acknowledgement
	early.send()
	early.send()
	early.arrive(t)
	early.arrive(t)
	s.check(t)
}
