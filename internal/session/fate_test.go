package session

import (
	"errors"
	"maps"
	"testing"
	"testing/synctest"

	"github.com/lahja-go/lahja/internal/window"
	"github.com/lahja-go/lahja/internal/wire"
)

// What becomes of three events, of which one was taken, one was returned, and one was neither when
// the link ended: it depends on how that ended. What was taken is reported before a goodbye, also
// when that report was not due.
func TestFates(t *testing.T) {
	for name, c := range map[string]struct {
		end  func(a, b *side)
		fate window.Fate
	}{
		"the peer leaves": {func(_, b *side) { b.link.Goodbye(wire.Goodbye{}) },
			window.Returned},
		"the peer is left":    {func(a, _ *side) { a.link.Goodbye(wire.Goodbye{}) }, window.Taken},
		"the link has broken": {func(a, _ *side) { a.link.Kill(errors.New("cut")) }, window.Lost},
	} {
		linked(t, roomy, func(t *testing.T, a, b *side) {
			o := newOwner()
			events := exchange(t, a, b, o, false, 3)
			f := window.NewFlight(o, window.Item{Size: 9, Slot: events[1].Slot})
			b.link.Return(f)
			synctest.Wait()
			if name == "the link has broken" {
				b.took(ackBytes, events[0])
				synctest.Wait()
			} else {
				b.took(1, events[0])
			}
			c.end(a, b)
			<-a.done
			want := map[int64]window.Fate{0: window.Taken, 1: window.Returned, 2: c.fate}
			if !maps.Equal(o.fates, want) {
				t.Errorf("%s: %v, where %v is due", name, o.fates, want)
			}
			f.Drop()
		})
	}
}
