package lahjatest

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lahja-go/lahja"
	"github.com/lahja-go/lahja/internal/core"
)

// quiet is how long Expect looks for what must not come once everything has come that must.
const quiet = 20 * time.Millisecond

// Recording is what [Record] records. All methods may be called concurrently.
type Recording[T any] struct {
	endpoint string
	sub      *lahja.Subscription

	mu       sync.Mutex // guards what follows
	events   []lahja.Event[T]
	changed  chan struct{} // closed when the next event is recorded
	expected int           // how many of the events Expect has dealt with
	strict   bool          // Expect was called
}

// Record subscribes to the events of type T and keeps them. When it returns it is subscribed: what
// is broadcast anywhere afterwards is recorded, until the test or the endpoint ends. What the
// endpoint has got when the test ends is recorded before the test is over; what is still on its way
// from another is not. Record counts as a subscriber, unless it is given [lahja.Observe]. If it
// cannot subscribe, it ends the test.
func Record[T any](
	tb testing.TB, ep *lahja.Endpoint, opts ...lahja.SubscribeOption,
) *Recording[T] {
	tb.Helper()
	r := &Recording[T]{endpoint: ep.Name(), changed: make(chan struct{})}
	ctx, end := context.WithCancel(core.Finishing(tb.Context()))
	var err error
	if r.sub, err = lahja.Subscribe(ctx, ep, r.add, opts...); err != nil {
		end()
		tb.Fatalf("lahjatest: recording %v at %q: %v", reflect.TypeFor[T](), r.endpoint, err)
	}
	tb.Cleanup(func() {
		tb.Helper()
		end()
		<-r.sub.Done()
		r.checkRest(tb)
	})
	return r
}

func (r *Recording[T]) add(_ context.Context, ev lahja.Event[T]) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, ev)
	close(r.changed)
	r.changed = make(chan struct{})
}

// Events returns all that was recorded so far, in the order of arrival, also what Expect has dealt
// with. It does not wait.
func (r *Recording[T]) Events() []lahja.Event[T] {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.events)
}

// rest returns what came after that with which Expect has dealt, and a channel that is closed when
// there is more.
func (r *Recording[T]) rest() ([]lahja.Event[T], <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.strict = true
	return slices.Clone(r.events[r.expected:]), r.changed
}

func (r *Recording[T]) deal(n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.expected += n
}

// fail notes that the test has failed: its end has nothing to add.
func (r *Recording[T]) fail() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.expected, r.strict = len(r.events), false
}

// ending says why nothing is recorded any more, if that is so.
func (r *Recording[T]) ending() string {
	select {
	case <-r.sub.Done():
	default:
		return ""
	}
	if err := r.sub.Err(); err != nil {
		return fmt.Sprintf("; recording has ended: %v", err)
	}
	return "; recording has ended, with as many as lahja.Take says"
}

// checkRest fails the test if something has come after all that was expected.
func (r *Recording[T]) checkRest(tb testing.TB) {
	tb.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	if rest := r.events[r.expected:]; r.strict && len(rest) > 0 {
		tb.Errorf("%s came after all that was expected (+ received):\n%s", r.title(),
			strings.TrimRight(compare(nil, rest), "\n"))
	}
}

func (r *Recording[T]) title() string {
	return fmt.Sprintf("events of %s at %q", lahja.EventName[T](), r.endpoint)
}

// Expect checks that the next events of a recording are exactly these, in this order, and arrive
// within this time. If not, it ends the test and shows the difference. The next Expect goes on
// where this one has ended; two of them at a time cannot share a recording.
//
// Something else is noticed if it arrives within 20 ms after the last expected event or, if none is
// expected, before the time is over. What is recorded later fails the next Expect, or the test at
// its end. In a bubble of [testing/synctest] that is exact: everything that takes no time has
// arrived, also within 0.
//
// When the subscription of the recording has ended, Expect does not wait any longer and says why.
//
// Values are compared field by field, or by the method Equal of a type that has one. NaN equals
// NaN; nil does not equal an empty slice or map. Nothing but values is compared: for Origin, Key
// and so on there is [Recording.Events].
func Expect[T any](tb testing.TB, r *Recording[T], within time.Duration, want ...T) {
	tb.Helper()
	got, late := r.collect(within, want)
	if len(got) == len(want) && matching(want, got) == len(want) {
		r.deal(len(got))
		return
	}
	r.fail()
	what := fmt.Sprintf("expected %d, received %d", len(want), len(got))
	if late {
		what += fmt.Sprintf(" within %v", within)
	}
	tb.Fatalf("%s (- expected, + received); %s%s:\n%s", r.title(), what, r.ending(),
		strings.TrimRight(compare(want, got), "\n"))
}

// collect waits for as many events as are wanted, but not longer than until one is another or none
// can come any more, and then a little for what is not wanted. It reports whether the time was over
// first.
func (r *Recording[T]) collect(within time.Duration, want []T) ([]lahja.Event[T], bool) {
	// In a bubble 0 would be over before what takes no time has arrived.
	end := time.NewTimer(max(within, 1))
	defer end.Stop()
	for ended := false; !ended; {
		got, changed := r.rest()
		complete := len(got) >= len(want) && len(want) > 0
		if complete || matching(want, got) < len(got) {
			break
		}
		select {
		case <-changed:
		case <-r.sub.Done():
			ended = true
		case <-end.C:
			got, _ := r.rest()
			return got, true
		}
	}
	more := time.NewTimer(quiet)
	defer more.Stop()
	<-more.C
	got, _ := r.rest()
	return got, false
}

// matching is how many of the first events are as wanted.
func matching[T any](want []T, got []lahja.Event[T]) int {
	for i := range min(len(want), len(got)) {
		if !equal(want[i], got[i].Value) {
			return i
		}
	}
	return min(len(want), len(got))
}
