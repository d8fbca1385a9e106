package session

import (
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/lahja-go/lahja/internal/wire"
)

// model is two links to each other, and for each side what it has sent and what waits there to be
// taken.
type model struct {
	sides   [2]*side
	owners  [2]*owner
	sent    [2]int
	waiting [2][]wire.Event // by their recipient
}

func newModel(t *rapid.T) *model {
	x, y := duplex(rapid.SampledFrom([]int{50, 1000, roomy}).Draw(t, "size"))
	x.in.step = rapid.SampledFrom([]int{30, 500, roomy}).Draw(t, "step")
	m := &model{
		sides:  [2]*side{newSide(x), newSide(y)},
		owners: [2]*owner{newOwner(), newOwner()},
	}
	for _, s := range m.sides {
		go s.run()
	}
	return m
}

// receive takes note of what has arrived at a side: that alone can wait there.
func (m *model) receive(t *rapid.T, at int) {
	synctest.Wait()
	m.waiting[at] = append(m.waiting[at], m.sides[at].arrived(t)...)
	if got, most := m.owners[1-at].count(), m.sent[1-at]-len(m.waiting[at]); got > most {
		t.Fatalf("%d events are settled, and %d can be", got, most)
	}
}

func aSide(t *rapid.T) int { return rapid.IntRange(0, 1).Draw(t, "side") }

func (m *model) send(t *rapid.T) {
	from := aSide(t)
	payload := make([]byte, rapid.IntRange(0, 300).Draw(t, "bytes"))
	for range rapid.IntRange(1, 300).Draw(t, "events") {
		id := int64(m.sent[from])
		m.sides[from].event(m.owners[from], id, id%7 == 0, payload)
		m.sent[from]++
	}
}

// request sends requests and takes some of them back.
func (m *model) request(t *rapid.T) {
	from := aSide(t)
	for range rapid.IntRange(1, 20).Draw(t, "requests") {
		m.sides[from].request(m.owners[from], int64(m.sent[from]))
		m.sent[from]++
		back := rapid.IntRange(0, 5).Draw(t, "of those before")
		m.sides[from].link.Withdraw(uint64(max(0, m.sent[from]-back)))
	}
}

// take takes some of what waits, in any order.
func (m *model) take(t *rapid.T) {
	at := aSide(t)
	m.receive(t, at)
	order := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "order"), 0))
	for range rapid.IntRange(0, len(m.waiting[at])).Draw(t, "events") {
		i := order.IntN(len(m.waiting[at]))
		m.sides[at].took(100, m.waiting[at][i])
		m.waiting[at] = slices.Delete(m.waiting[at], i, i+1)
	}
}

// pass lets the time pass after which everything is reported.
func (m *model) pass(t *rapid.T) {
	time.Sleep(2 * ackDelay)
	for at := range m.sides {
		m.receive(t, at)
		if got, want := m.owners[1-at].count(), m.sent[1-at]-len(m.waiting[at]); got != want {
			t.Fatalf("%d events are settled, where %d do not wait", got, want)
		}
	}
}

// end ends the links, and requires that each event was settled once.
func (m *model) end(t *rapid.T) {
	if rapid.Bool().Draw(t, "in order") {
		m.sides[0].link.Goodbye(wire.Goodbye{})
	} else {
		m.sides[0].link.Kill(nil)
	}
	for i, s := range m.sides {
		<-s.done
		<-s.link.Over() // which comes later if it was killed before it had a connection
		if len(m.owners[i].settled) != m.sent[i] || m.owners[i].count() != m.sent[i] {
			t.Fatalf("%d events were settled %d times, of %d", len(m.owners[i].settled),
				m.owners[i].count(), m.sent[i])
		}
	}
}

// Events in both directions, taken in any order, and requests that are taken back: each is settled
// once, not before it was taken if it arrives, and in the end all are, whether the links end in
// order or not.
func linkProperty(t *rapid.T) {
	m := newModel(t)
	defer finish(m.sides[:]...)
	t.Repeat(map[string]func(*rapid.T){
		"send": m.send, "request": m.request, "take": m.take, "pass": m.pass,
	})
	m.end(t)
}

func TestLinkProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) { rapid.SyncTest(t, linkProperty) })
}
