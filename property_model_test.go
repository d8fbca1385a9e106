package lahja_test

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/lahja-go/lahja"
)

// The model is a record of what was called and what came of it, each call with the moments at
// which it began and returned, by one clock. From these alone it tells what a bus may and what it
// must have done: an event whose broadcast overlaps the beginning or the end of a subscription may
// arrive, any other must or must not.

// history is everything that happened in a case.
type history struct {
	lives []*life
	subs  []*sub
	sents []*sent // in the order of their numbers
	round int     // the present one
}

// life is one endpoint: several may have one name, one after the other.
type life struct {
	name   string
	remote bool
	span
}

// span is when a thing began to be, was, began to end and had ended; 0: not yet.
type span struct {
	began, returned, ending, ended int64
	endRound                       int // in which it began to end
}

// sub is a subscription.
type sub struct {
	id   int
	plan plan
	life *life
	span
	round    int   // in which it began; between rounds nothing is on its way
	gone     int64 // when the whole bus knew that it had ended
	finished bool  // it gets no more: its channel has closed, or its handlers have returned
	got      []arrival
	reasons  []error // that OnEnd was told
	failed   error   // why it could not be made
}

// arrival is an event as a subscription got it.
type arrival struct {
	Color  int
	Origin string
	Note   note
}

// sent is a broadcast or a request.
type sent struct {
	n        int
	life     *life
	color    int
	how      options
	round    int
	began    int64
	returned int64
	err      error
	answer   reply
}

func first(a, b int64) int64 {
	if a == 0 || b != 0 && b < a {
		return b
	}
	return a
}

// lifetime is the span of s within that of its endpoint.
func (s *sub) lifetime() span {
	l := s.span
	if s.life.ending != 0 && (l.ending == 0 || s.life.endRound < l.endRound) {
		l.endRound = s.life.endRound
	}
	l.ending = first(l.ending, s.life.ending)
	l.ended = first(l.ended, s.life.ended)
	return l
}

// matches reports whether b is for s, going by what both asked for.
func (s *sub) matches(b *sent) bool {
	name := s.life.name
	return s.plan.Color == b.color &&
		(s.plan.From == nil || slices.Contains(s.plan.From, b.life.name)) &&
		(!b.how.Internal || b.life == s.life) &&
		(!b.how.HasTo || slices.Contains(b.how.To, name)) &&
		!slices.Contains(b.how.Except, name)
}

// delivered reports whether b was handed to those for whom it is.
func (b *sent) delivered() bool {
	if b.color != queryColor {
		return b.err == nil
	}
	return b.err == nil || b.returned == 0 || !refused(b.err)
}

// refused reports whether a request that failed so was never handed to anybody.
func refused(err error) bool {
	return errors.Is(err, lahja.ErrNoSubscribers) || errors.Is(err, lahja.ErrDenied) ||
		errors.Is(err, lahja.ErrWouldBlock) || errors.Is(err, context.Canceled)
}

// may reports whether b may arrive at s.
func (s *sub) may(b *sent) bool {
	l := s.lifetime()
	tooEarly := b.round < s.round
	tooLate := l.ended != 0 && (l.ended < b.began || l.ended < l.began)
	return s.matches(b) && b.delivered() && !tooEarly && !tooLate
}

// must reports whether b must arrive at s, unless s has reached its limit.
func (s *sub) must(b *sent) bool {
	l := s.lifetime()
	return b.color != queryColor && s.matches(b) && b.returned != 0 && b.err == nil &&
		l.returned != 0 && l.returned < b.began &&
		(l.ending == 0 || l.endRound > b.round)
}

// mayCount reports whether s may count for the bus as a subscriber to b, mustCount whether it
// does so for certain.
func (h *history) mayCount(s *sub, b *sent) bool {
	l := s.life
	return s.matches(b) && !s.plan.Observe &&
		s.began < b.returned && (l.ended == 0 || l.ended > s.began) &&
		(s.gone == 0 || s.gone > b.began)
}

func (h *history) mustCount(s *sub, b *sent) bool {
	l := s.lifetime()
	return s.matches(b) && !s.plan.Observe && s.failed == nil &&
		l.returned != 0 && l.returned < b.began &&
		(l.ending == 0 || l.ending > b.returned) && !h.mayBeFull(s, b.returned, b)
}

// mayBeFull reports whether s may have reached its limit at that moment, without counting one.
func (h *history) mayBeFull(s *sub, now int64, without *sent) bool {
	if s.plan.Limit == 0 {
		return false
	}
	if s.finished && s.gone != 0 && s.gone <= now {
		return true
	}
	count := 0
	for _, b := range h.sents {
		if b != without && b.began < now && s.may(b) {
			count++
		}
	}
	return count >= s.plan.Limit
}

// satisfied reports whether s has got all that it must have got by now.
func (h *history) satisfied(s *sub) bool {
	if s.full() {
		return s.finished
	}
	got := map[int]bool{}
	for _, a := range s.got {
		got[a.Note.N] = true
	}
	for _, b := range h.sents {
		if s.must(b) && !got[b.n] {
			return false
		}
	}
	return true
}

func (s *sub) full() bool { return s.plan.Limit > 0 && len(s.got) >= s.plan.Limit }

// check returns the first thing that h shows and the promises exclude.
func (h *history) check() error {
	for _, b := range h.sents {
		if err := h.checkSent(b); err != nil {
			return fmt.Errorf("%v: %w", b, err)
		}
	}
	for _, s := range h.subs {
		if err := h.checkSub(s); err != nil {
			return fmt.Errorf("%v: %w\ngot %+v", s, err, s.got)
		}
	}
	return nil
}

// checkSub holds Delivery, Order, Routing, Identity and Endings for what one subscription got.
func (h *history) checkSub(s *sub) error {
	if s.plan.Limit > 0 && len(s.got) > s.plan.Limit {
		return fmt.Errorf("more events than its limit")
	}
	var got []*sent
	for _, a := range s.got {
		b, err := h.admissible(s, a)
		if err != nil {
			return err
		}
		for _, before := range got {
			switch {
			case before == b:
				return fmt.Errorf("%v came twice", b)
			case before.life == b.life && b.returned != 0 && b.returned < before.began:
				return fmt.Errorf("%v came after %v", b, before)
			}
		}
		got = append(got, b)
	}
	if err := h.complete(s, got); err != nil {
		return err
	}
	return s.checkEnd()
}

// admissible returns the broadcast that a is of, if it may have arrived like that.
func (h *history) admissible(s *sub, a arrival) (*sent, error) {
	if a.Note.N < 0 || a.Note.N >= len(h.sents) {
		return nil, fmt.Errorf("%+v was never sent", a)
	}
	b := h.sents[a.Note.N]
	switch {
	case a.Color != b.color:
		return b, fmt.Errorf("%v came as a type %d", b, a.Color)
	case a.Origin != b.life.name || a.Note.Sender != b.life.name:
		return b, fmt.Errorf("%v came with the origin %q", b, a.Origin)
	case !s.may(b):
		return b, fmt.Errorf("%v is not for it", b)
	}
	return b, nil
}

// complete checks that nothing is missing: not what must arrive, and not what was broadcast
// between two events that arrived.
func (h *history) complete(s *sub, got []*sent) error {
	for _, b := range h.sents {
		if b.color == queryColor || !s.may(b) || slices.Contains(got, b) {
			continue
		}
		if s.must(b) && !s.full() {
			return fmt.Errorf("%v is missing", b)
		}
		overtaken := func(x *sent) bool { return x.life == b.life && b.returned < x.began }
		i := slices.IndexFunc(got, overtaken)
		if i >= 0 && s.returned != 0 && s.returned < b.began {
			return fmt.Errorf("%v is missing, and %v is not", b, got[i])
		}
	}
	return nil
}

// hasNoOnEnd reports whether OnEnd need not be called.
func (s *sub) hasNoOnEnd() bool {
	return s.plan.Way == byWaitFor || s.failed != nil && s.plan.Way.handles()
}

// toldWhy reports whether OnEnd has been called. That may be after a loop over Events was left,
// which ends the subscription and waits for nobody.
func (s *sub) toldWhy() bool { return s.hasNoOnEnd() || len(s.reasons) > 0 }

// checkEnd checks why s has ended.
func (s *sub) checkEnd() error {
	if s.failed != nil && (!errors.Is(s.failed, lahja.ErrClosed) || s.life.ending == 0) {
		return fmt.Errorf("it could not be made: %w", s.failed)
	}
	if !s.finished {
		return fmt.Errorf("it has not ended")
	}
	// What a handler's queue had taken when its limit was reached is discarded by a later end.
	full := s.full() || s.plan.Limit > 0 && s.plan.Way.handles()
	if s.hasNoOnEnd() {
		return nil
	}
	if len(s.reasons) != 1 {
		return fmt.Errorf("OnEnd was called %d times: %v", len(s.reasons), s.reasons)
	}
	switch reason := s.reasons[0]; {
	case reason == nil && (full || s.ending != 0 && !s.plan.Cancel):
	case errors.Is(reason, errCancelled) && s.ending != 0 && s.plan.Cancel:
	case errors.Is(reason, lahja.ErrClosed) && s.life.ending != 0:
	default:
		return fmt.Errorf("OnEnd was told %v", reason)
	}
	return nil
}

// checkSent holds All or nothing and Routing for the result of one broadcast or request.
func (h *history) checkSent(b *sent) error {
	closing := b.life.ending != 0 && b.life.ending < b.returned
	closed := b.life.ended != 0 && b.life.ended < b.began
	switch {
	case b.how.Dead:
		return want(b.err, context.Canceled)
	case closed:
		return want(b.err, lahja.ErrClosed)
	case errors.Is(b.err, lahja.ErrClosed) && closing:
		return nil
	case b.how.contradict():
		return want(b.err, lahja.ErrDenied)
	case errors.Is(b.err, lahja.ErrWouldBlock) && b.how.NoWait:
		return nil
	}
	may, must := h.recipients(b)
	if errors.Is(b.err, lahja.ErrNoSubscribers) && (b.how.Require || b.color == queryColor) {
		if len(must) > 0 {
			return fmt.Errorf("%w, but %v is there", b.err, must[0])
		}
		return nil
	}
	if len(may) == 0 && (b.how.Require || b.color == queryColor) {
		return fmt.Errorf("nobody is there, and it returned %v", b.err)
	}
	if b.color == queryColor {
		return b.checkAnswer(may, must)
	}
	return b.err
}

func want(got, wanted error) error {
	if !errors.Is(got, wanted) {
		return fmt.Errorf("it returned %v, where %v is due", got, wanted)
	}
	return nil
}

func (h *history) recipients(b *sent) (may, must []*sub) {
	for _, s := range h.subs {
		if h.mayCount(s, b) {
			may = append(may, s)
		}
		if h.mustCount(s, b) {
			must = append(must, s)
		}
	}
	return may, must
}

// checkAnswer checks the outcome of a request that these subscriptions may, and must, have got.
func (b *sent) checkAnswer(may, must []*sub) error {
	answers := func(s *sub) bool { return s.plan.Way != byHandleOther }
	var said *lahja.RemoteError
	switch {
	case errors.Is(b.err, lahja.ErrResponderGone):
		if slices.ContainsFunc(must, answers) {
			return fmt.Errorf("%w, but there are %v", b.err, must)
		}
		return nil
	case errors.As(b.err, &said) && said.Code == lahja.ErrUnexpectedResponse:
		if slices.ContainsFunc(must, answers) {
			return fmt.Errorf("%w, but there are %v", b.err, must)
		}
		return by(may, said.Endpoint, byHandleOther)
	case errors.As(b.err, &said) && said.Code == errRefused:
		return by(may, said.Endpoint, byFailing, byFail)
	case b.err != nil:
		return b.err
	case b.answer.N != b.n:
		return fmt.Errorf("it got the answer to another request: %+v", b.answer)
	}
	return by(may, b.answer.From, byHandle, byReply)
}

// by checks that an endpoint has one of subs that was made in one of these ways.
func by(subs []*sub, endpoint string, ways ...way) error {
	for _, s := range subs {
		if s.life.name == endpoint && slices.Contains(ways, s.plan.Way) {
			return nil
		}
	}
	return fmt.Errorf("endpoint %q answers, which cannot be", endpoint)
}

// peers checks what an endpoint is told of the others between two rounds.
func (h *history) checkPeers(self *life, now int64, peers lahja.Peers) error {
	var names []string
	for _, l := range h.lives {
		if l.ending == 0 && l != self {
			names = append(names, l.name)
		}
	}
	slices.Sort(names)
	names = append([]string{self.name}, names...)
	for i, p := range peers {
		if i >= len(names) || p.Name != names[i] {
			return fmt.Errorf("%q is told %v, where %q are attached", self.name, peers, names)
		}
		if err := h.checkPeer(p, now); err != nil {
			return fmt.Errorf("%q is told %v: %w", self.name, peers, err)
		}
	}
	if len(peers) != len(names) {
		return fmt.Errorf("%q is told %v, where %q are attached", self.name, peers, names)
	}
	return nil
}

func (h *history) checkPeer(p lahja.Peer, now int64) error {
	if !slices.IsSorted(p.Events) || len(slices.Compact(slices.Clone(p.Events))) != len(p.Events) {
		return fmt.Errorf("the events of %q are not sorted, or one is there twice", p.Name)
	}
	for i, c := range colors {
		may, must := false, false
		for _, s := range h.subs {
			if s.life.name == p.Name && s.plan.Color == i && !s.plan.Observe && s.failed == nil &&
				s.life.ending == 0 && s.gone == 0 {
				may = true
				must = must || s.ending == 0 && !h.mayBeFull(s, now, nil)
			}
		}
		listed := slices.Contains(p.Events, c.event)
		if must && !listed || listed && !may {
			return fmt.Errorf("that %q subscribes to %s is %v", p.Name, c.event, listed)
		}
	}
	return nil
}

func (s *sub) String() string {
	return fmt.Sprintf("subscription %d of %q %+v %+v", s.id, s.life.name, s.plan, s.span)
}

func (b *sent) String() string {
	return fmt.Sprintf("broadcast %d of type %d by %q [%d, %d] in round %d with %+v: %v", b.n,
		b.color, b.life.name, b.began, b.returned, b.round, b.how, b.err)
}
