package lahja_test

import (
	"bytes"
	"context"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/lahja-go/lahja"
)

// sameLoad has the name of load and is another type.
type sameLoad struct {
	Publisher, N int
	Data         []byte
}

func (sameLoad) EventName() string { return lahja.EventName[load]() }

// Delivery and Order: where a subscription has an event as it came or decoded, because of its
// size or of others that come and go, each arrives once and in order; and the others miss nothing
// while they are there.
func TestDecodedHereOrThere(t *testing.T) {
	everywhereInPairs(t, []behaviour{
		{"by a channel", func(s *stage) {
			s.mixes(false, func(b *lahja.Endpoint, heard func(lahja.Event[load])) {
				events := lahja.Stream[load](s.ctx, b, lahja.Take(mixed), lahja.Buffer(3))
				s.group.Go(func() {
					for ev := range events {
						heard(ev)
					}
				})
			})
		}},
		{"by a handler", func(s *stage) {
			s.mixes(false, func(b *lahja.Endpoint, heard func(lahja.Event[load])) {
				_, err := lahja.Subscribe(s.ctx, b, func(_ context.Context, ev lahja.Event[load]) {
					heard(ev)
				}, lahja.Buffer(3))
				s.must(err)
			})
		}},
		{"by a handler that is also asked", func(s *stage) {
			s.mixes(true, func(b *lahja.Endpoint, heard func(lahja.Event[load])) {
				_, err := lahja.Handle(s.ctx, b,
					func(_ context.Context, ev lahja.Event[load]) (answer, error) {
						heard(ev)
						return answer{ev.Value.N}, nil
					})
				s.must(err)
			})
		}},
	})
}

const mixed = 300 // events

// mixes sends events to b, of which some are requests if asks says so.
func (s *stage) mixes(
	asks bool, subscribe func(b *lahja.Endpoint, heard func(lahja.Event[load])),
) {
	a, b := s.pair()
	next, all := 0, make(chan struct{})
	subscribe(b, func(ev lahja.Event[load]) {
		checkLoad(s, ev.Value, next)
		if next++; next == mixed {
			close(all)
		}
	})
	ctx, stop := context.WithCancel(s.ctx)
	var others sync.WaitGroup
	defer others.Wait()
	defer stop()
	others.Go(func() { listenNow(ctx, s, b, func(v load) load { return v }) })
	others.Go(func() { listenNow(ctx, s, b, func(v sameLoad) load { return load(v) }) })
	for n := range mixed {
		v := load{N: n, Data: bytes.Repeat([]byte{byte(n)}, 480+rand.IntN(40))}
		if !asks || n%20 < 19 {
			say(s, a, v)
		} else if got, err := lahja.Request[load, answer](s.ctx, a, v); err != nil || got.N != n {
			s.Fatalf("to %d the answer is %+v, and %v", n, got, err)
		}
	}
	select {
	case <-all:
	case <-s.ctx.Done():
		s.Errorf("%d of %d events have come", next, mixed)
	}
}

// listenNow subscribes again and again, for a few events each time.
func listenNow[T any](ctx context.Context, s *stage, ep *lahja.Endpoint, value func(T) load) {
	for ctx.Err() == nil {
		next := -1
		for ev, err := range lahja.Events[T](ctx, ep, lahja.Take(1+rand.IntN(5))) {
			if err != nil {
				break // ctx has ended
			}
			v := value(ev.Value)
			if next < 0 {
				next = v.N
			}
			checkLoad(s, v, next)
			next++
		}
	}
}

func checkLoad(s *stage, v load, n int) {
	if v.N != n {
		s.Errorf("event %d has come, where %d is due", v.N, n)
	}
	if len(v.Data) < 480 || bytes.Count(v.Data, []byte{byte(n)}) != len(v.Data) {
		s.Errorf("event %d has come with the data %x", v.N, v.Data)
	}
}
