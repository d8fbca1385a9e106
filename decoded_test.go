package lahja_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/lahja-go/lahja"
)

// Two types of one name, of which the second cannot be read as the first.
type (
	legible struct {
		N   int
		Pad string
	}
	illegible struct {
		N   string
		Pad string
	}
)

func (legible) EventName() string   { return "test.legible" }
func (illegible) EventName() string { return "test.legible" }

// paddings make an event that is decoded by who takes it, and one that is decoded as it comes.
var paddings = map[string]string{"small": "", "large": strings.Repeat("x", 1000)}

// reading is a subscription that takes nothing, or no more than one event, until it is let go on.
type reading struct {
	ended chan error // what OnEnd is told
	goOn  func()
}

var readings = map[string]func(*stage, *lahja.Endpoint) *reading{
	"Stream": func(s *stage, ep *lahja.Endpoint) *reading {
		r := &reading{ended: make(chan error, 2)}
		c := lahja.Stream[legible](s.ctx, ep, lahja.Buffer(0), r.onEnd())
		r.goOn = func() {
			for range c {
			}
		}
		return r
	},
	"Subscribe": func(s *stage, ep *lahja.Endpoint) *reading { return s.handle(ep) },
	"Concurrency": func(s *stage, ep *lahja.Endpoint) *reading {
		return s.handle(ep, lahja.Concurrency(2))
	},
}

func (r *reading) onEnd() lahja.SubscribeOption {
	return lahja.OnEnd(func(err error) { r.ended <- err })
}

func (s *stage) handle(ep *lahja.Endpoint, opts ...lahja.SubscribeOption) *reading {
	r := &reading{ended: make(chan error, 2)}
	taken := make(chan struct{})
	sub, err := lahja.Subscribe(s.ctx, ep, func(context.Context, lahja.Event[legible]) {
		<-taken
	}, append(opts, r.onEnd())...)
	s.must(err)
	r.goOn = func() {
		close(taken)
		<-sub.Done()
		if err := sub.Err(); !errors.Is(err, lahja.ErrProtocol) {
			s.Errorf("its error is %v", err)
		}
	}
	return r
}

// No silent loss: an event that cannot be read ends its subscription, for that reason, whoever
// finds it and when; also when by then an end has begun that lets what has come be taken.
func TestIllegible(t *testing.T) {
	ends := map[string]func(*stage, *lahja.Endpoint){
		"goes on": func(*stage, *lahja.Endpoint) {},
		"is shut down": func(s *stage, b *lahja.Endpoint) {
			beside(s, func() error { return b.Shutdown(s.ctx) })
			s.until(s.own("witness"), not(lahja.SubscribedBy[legible]("b")))
		},
		"loses the bus": func(s *stage, b *lahja.Endpoint) {
			if !s.pairs[1] {
				return // it would end at once, and let nothing be taken
			}
			s.must(s.bus.Close())
			for b.Err() == nil {
				runtime.Gosched()
			}
		},
	}
	var all []behaviour
	for reader, read := range readings {
		for size, pad := range paddings {
			for end, begin := range ends {
				name := fmt.Sprintf("%s of a %s event %s", reader, size, end)
				all = append(all, behaviour{name, func(s *stage) {
					a, b := s.pair()
					r := read(s, b)
					items := lahja.Stream[item](s.ctx, b)
					for n := range 3 {
						say(s, a, legible{n, pad})
					}
					say(s, a, illegible{"three", pad})
					say(s, a, legible{4, pad})
					say(s, a, item{5})
					hear(s, items, item{5}) // behind the others, by the same connection
					begin(s, b)
					r.goOn()
					err := take(s, r.ended)
					s.wantErr(err, lahja.ErrProtocol)
					if !strings.Contains(err.Error(), "cannot be read") {
						s.Errorf("OnEnd is told: %v", err)
					}
				}})
			}
		}
	}
	everywhereInPairs(t, all)
}
