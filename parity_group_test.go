package lahja_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/lahja-go/lahja"
)

func TestParityGroups(t *testing.T) {
	everywhereInPairs(t, []behaviour{
		{"each event goes to exactly one member", (*stage).groupOneEach},
		{"each request goes to exactly one member", (*stage).groupRequests},
		{"several groups and others get every event once each", (*stage).groupsApart},
		{"a busy member is given nothing while another is free", (*stage).groupBusyMember},
		{"what waits goes to a member that joins", (*stage).groupLateMember},
		{"what waits when a member ends goes to another", (*stage).groupMemberEnds},
		{"what a member had not begun when it unsubscribes goes to another",
			(*stage).groupGivesBack},
		{"a request too", (*stage).groupGivesRequestBack},
		{"what waits when the last member ends is for nobody", (*stage).groupEnds},
		{"a group gets nothing that is internal", (*stage).groupInternal},
		{"a member that only wants some origins is given those alone", (*stage).groupFrom},
	})
	everywhereOnce(t, []behaviour{
		{"what was on its way to a member that died is counted", (*stage).groupLost},
		{"what a member had when it died is not run twice", (*stage).groupMemberDies},
		{"what cannot be combined with Group is refused", (*stage).groupRefused},
	})
}

// job is an item as a member got it.
type job struct {
	member string
	n      int
}

// join makes ep a member of the group "g" that reports its items on jobs, each when release lets
// it.
func (s *stage) join(
	ep *lahja.Endpoint, jobs chan<- job, release <-chan struct{},
) *lahja.Subscription {
	s.Helper()
	return onItem(s, ep, func(_ context.Context, n int) {
		jobs <- job{ep.Name(), n}
		<-release
	}, lahja.Group("g"))
}

// always lets everything pass.
func always() <-chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}

// takeJobs takes as many jobs as ns and checks that they are these, in any order.
func takeJobs(s *stage, jobs <-chan job, ns ...int) (by []string) {
	s.Helper()
	var got []int
	for range ns {
		j := take(s, jobs)
		got, by = append(got, j.n), append(by, j.member)
	}
	slices.Sort(got)
	if !slices.Equal(got, ns) {
		s.Fatalf("the jobs are %v, and not %v", got, ns)
	}
	return by
}

// end closes the endpoints and checks that no job is left.
func (s *stage) end(jobs <-chan job, endpoints ...*lahja.Endpoint) {
	s.Helper()
	for _, ep := range endpoints {
		s.must(ep.Close())
		takeEnd(s, ep.Done())
	}
	if len(jobs) > 0 {
		s.Fatalf("%+v is one too many", <-jobs)
	}
}

func (s *stage) groupOneEach() {
	a, b := s.pair()
	jobs := make(chan job, 100)
	members := append(s.others(), b, b) // one has two
	for _, ep := range members {
		s.join(ep, jobs, always())
	}
	want := make([]int, 60)
	for i := range want {
		say(s, a, item{i}, lahja.RequireSubscriber())
		want[i] = i
	}
	takeJobs(s, jobs, want...)
	s.end(jobs, members...)
}

func (s *stage) groupRequests() {
	a, b := s.pair()
	jobs := make(chan job, 100)
	members := append(s.others(), b)
	for _, ep := range members {
		answerWith(s, ep, func(_ context.Context, n int) (answer, error) {
			jobs <- job{ep.Name(), n}
			return answer{2 * n}, nil
		}, lahja.Group("g"))
	}
	var want []int
	for n := range 30 {
		s.wantAnswer(a, n, 2*n)
		want = append(want, n)
	}
	by := takeJobs(s, jobs, want...)
	for _, ep := range members {
		if !slices.Contains(by, ep.Name()) {
			s.Errorf("%q was never asked: %v", ep.Name(), by)
		}
	}
	s.end(jobs, members...)
}

func (s *stage) groupsApart() {
	a, b := s.pair()
	jobs := make(chan job, 100)
	alone := lahja.Stream[item](s.ctx, b)
	others := s.others()
	for _, ep := range append(others, b) {
		for _, group := range []string{"g", "h"} {
			tell := func(_ context.Context, n int) { jobs <- job{group, n} }
			onItem(s, ep, tell, lahja.Group(group))
		}
	}
	var want []int
	for i := range 20 {
		say(s, a, item{i})
		hear(s, alone, item{i})
		want = append(want, i, i)
	}
	by := takeJobs(s, jobs, want...)
	slices.Sort(by)
	if g := slices.Index(by, "h"); g != 20 {
		s.Fatalf("one group got %d events of 20", g)
	}
	s.end(jobs, append(others, b)...)
}

// busyJob has ep join, and be busy with item 0 until release is closed. One more item may then be
// at its door: it was asked for when the member took item 0.
func (s *stage) busyJob(a, ep *lahja.Endpoint, jobs chan job, release <-chan struct{}) {
	s.Helper()
	s.join(ep, jobs, release)
	say(s, a, item{0})
	takeJobs(s, jobs, 0)
}

func (s *stage) groupBusyMember() {
	a, b := s.pair()
	c := s.own("c")
	jobs, release := make(chan job, 100), make(chan struct{})
	s.busyJob(a, b, jobs, release)
	free := make(chan job, 100)
	s.join(c, free, always())
	for n := 1; n <= 20; n++ {
		say(s, a, item{n})
	}
	for range 19 {
		take(s, free)
	}
	close(release)
	select {
	case <-free:
	case <-jobs:
	case <-s.ctx.Done():
		s.Fatal("one of 20 jobs is not done")
	}
	s.end(jobs, b)
	s.end(free, c)
}

func (s *stage) groupLateMember() {
	a, b := s.pair()
	c := s.own("c")
	jobs, release := make(chan job, 100), make(chan struct{})
	s.busyJob(a, b, jobs, release)
	for n := 1; n <= 5; n++ {
		say(s, a, item{n})
	}
	late := make(chan job, 100)
	s.join(c, late, always())
	for range 4 {
		take(s, late)
	}
	close(release)
	select {
	case <-late:
	case <-jobs:
	case <-s.ctx.Done():
		s.Fatal("one of 5 jobs is not done")
	}
	s.end(jobs, b)
	s.end(late, c)
}

func (s *stage) groupMemberEnds() {
	a, b := s.pair()
	c := s.own("c")
	jobs, never := make(chan job, 100), make(chan struct{})
	defer close(never)
	s.busyJob(a, b, jobs, never)
	for n := 1; n <= 5; n++ {
		say(s, a, item{n})
	}
	other, release := make(chan job, 100), make(chan struct{})
	s.join(c, other, release)
	take(s, other) // and it is busy as well
	s.must(b.Close())
	close(release)
	say(s, a, item{6})
	for range 5 { // by c, which alone is left; what was at the door of b is among them
		take(s, other)
	}
	if s.end(other, c); len(jobs) > 0 {
		s.Fatalf("%+v was done by the one that had closed", <-jobs)
	}
}

// groupGivesBack has members that are busy unsubscribe, each with as much at its door as it may
// have; a Stream has what it has not received.
func (s *stage) groupGivesBack() {
	for _, buffer := range []int{0, 3} {
		a, b := s.own(fmt.Sprint("a", buffer)), s.connect(fmt.Sprint("b", buffer))
		jobs, release := make(chan job, 100), make(chan struct{})
		sub := onItem(s, b, func(_ context.Context, n int) {
			jobs <- job{b.Name(), n}
			<-release
		}, lahja.Group("g"), lahja.Buffer(buffer))
		ctx, cancel := context.WithCancel(s.ctx)
		say(s, a, item{0})
		takeJobs(s, jobs, 0)
		other, free := make(chan job, 100), make(chan struct{})
		c := s.connect(fmt.Sprint("c", buffer))
		heir := s.join(c, other, free)
		idle := lahja.Stream[item](ctx, b, lahja.Group("g"), lahja.Buffer(0))
		var want []int
		for n := 1; n <= 9; n++ {
			say(s, a, item{n})
			want = append(want, n)
		}
		sub.Unsubscribe()
		cancel()
		for ev := range idle { // what it receives before it has ended is its own
			want = slices.DeleteFunc(want, func(n int) bool { return n == ev.Value.N })
		}
		close(free)
		takeJobs(s, other, want...)
		close(release)
		takeEnd(s, sub.Done())
		heir.Unsubscribe()
		s.end(other, c)
		s.end(jobs, a, b)
	}
}

func (s *stage) groupGivesRequestBack() {
	a, b := s.pair()
	begun, release := make(chan int, 9), make(chan struct{})
	sub := answerWith(s, b, func(_ context.Context, n int) (answer, error) {
		begun <- n
		<-release
		return answer{n}, nil
	}, lahja.Group("g"), lahja.Buffer(2))
	var asked []<-chan error
	for n := range 5 {
		asked = append(asked, beside(s, func() error {
			_, err := request(s, a, n)
			return err
		}))
	}
	take(s, begun)
	tap := lahja.Stream[question](s.ctx, b, lahja.Observe())
	say(s, a, question{9}) // for the group as well: what is asked has come before
	for ev := range tap {
		if ev.Value.N == 9 {
			break
		}
	}
	answerWith(s, s.connect("other"), double, lahja.Group("g"))
	sub.Unsubscribe()
	close(release)
	for _, outcome := range asked {
		s.must(take(s, outcome))
	}
	if len(begun) > 0 {
		s.Fatalf("%d is run after the end", <-begun)
	}
}

// groupLost has members die with as much on its way to them as they had room for.
func (s *stage) groupLost() {
	s.mortal = true
	if s.place == nil {
		s.Skip("in one process nothing is on its way")
	}
	a := s.own("a")
	for i, room := range []uint64{1, 1, 4} {
		dying := s.connect(fmt.Sprint("dying", i))
		begun := make(chan int, 9)
		never := make(chan struct{})
		onItem(s, dying, func(_ context.Context, n int) {
			begun <- n
			<-never
		}, lahja.Group("g"), lahja.Buffer(int(room)-1))
		for n := range 9 {
			say(s, a, item{n})
		}
		take(s, begun)
		for range 2 { // the report that the first has begun is written before the second question
			_, err := dying.Peers(s.ctx)
			s.must(err)
		}
		before := s.lost()
		s.wires.cutLast()
		s.until(a, not(lahja.Present(dying.Name())))
		if lost := s.lost() - before; lost != room {
			s.Fatalf("%d are counted lost, of %d that were on their way", lost, room)
		}
		close(never)
	}
}

// lost is how many items the bus counts as lost.
func (s *stage) lost() (n uint64) {
	for _, st := range s.bus.Stats() {
		if st.Event == lahja.EventName[item]() {
			n += st.Lost
		}
	}
	return n
}

func (s *stage) groupEnds() {
	a, b := s.pair()
	begun, release := make(chan int, 9), make(chan struct{})
	answerWith(s, b, func(_ context.Context, n int) (answer, error) {
		begun <- n
		<-release
		return answer{n}, nil
	}, lahja.Group("g"))
	asked := func(n int) <-chan error {
		return beside(s, func() error {
			_, err := request(s, a, n)
			return err
		})
	}
	first := asked(1)
	take(s, begun)
	tap := lahja.Stream[question](s.ctx, b, lahja.Observe())
	waiting := asked(2)
	hear(s, tap, question{2})
	s.must(b.Close())
	s.wantErr(take(s, first), lahja.ErrResponderGone)
	if err := take(s, waiting); !errors.Is(err, lahja.ErrNoSubscribers) {
		s.wantErr(err, lahja.ErrResponderGone) // unless the group's turn came only after the tap's
	}
	close(release)
	takeEnd(s, b.Done())
	if len(begun) > 0 {
		s.Fatalf("%d is run after all", <-begun)
	}
	_, err := request(s, a, 3)
	s.wantErr(err, lahja.ErrNoSubscribers)
}

func (s *stage) groupInternal() {
	a, b := s.pair()
	jobs := make(chan job, 10)
	s.join(a, jobs, always())
	say(s, a, item{1}, lahja.Internal())
	err := lahja.Broadcast(s.ctx, a, item{2}, lahja.Internal(), lahja.RequireSubscriber())
	s.wantErr(err, lahja.ErrNoSubscribers)
	say(s, a, item{3})
	takeJobs(s, jobs, 3)
	s.end(jobs, a, b)
}

func (s *stage) groupFrom() {
	a, b := s.pair()
	jobs := make(chan job, 100)
	c := s.own("c")
	for _, origin := range []*lahja.Endpoint{a, c} {
		onItem(s, b, func(_ context.Context, n int) { jobs <- job{"from " + origin.Name(), n} },
			lahja.Group("g"), lahja.From(origin.Name()))
	}
	for n := range 10 {
		say(s, a, item{n})
		if j := take(s, jobs); j != (job{"from a", n}) {
			s.Fatalf("%+v was done", j)
		}
		say(s, c, item{n})
		if j := take(s, jobs); j != (job{"from c", n}) {
			s.Fatalf("%+v was done", j)
		}
		say(s, b, item{n}) // for nobody
	}
	s.end(jobs, a, b)
}

func (s *stage) groupMemberDies() {
	s.mortal = true
	for i, asking := range []*lahja.Endpoint{s.own("asking"), s.connect("asking too")} {
		dying := s.connect(fmt.Sprint("dying", i))
		begun := make(chan int, 1)
		answerWith(s, dying, func(ctx context.Context, n int) (answer, error) {
			begun <- n
			<-ctx.Done()
			return answer{}, ctx.Err()
		}, lahja.Group("g"), lahja.Buffer(2))
		asked := beside(s, func() error {
			_, err := request(s, asking, 1)
			return err
		})
		take(s, begun)
		if s.place == nil {
			dying.Close()
		} else {
			s.wires.cutLast()
		}
		s.wantErr(take(s, asked), lahja.ErrResponderGone)
		takeEnd(s, dying.Done())

		surviving := s.connect(fmt.Sprint("surviving", i))
		got := make(chan int, 10)
		sub := answerWith(s, surviving, func(_ context.Context, n int) (answer, error) {
			got <- n
			return answer{n}, nil
		}, lahja.Group("g"))
		s.wantAnswer(asking, 2, 2)
		if n := take(s, got); n != 2 {
			s.Fatalf("%d is run again", n)
		}
		sub.Unsubscribe()
		s.until(asking, not(lahja.SubscribedBy[question](surviving.Name())))
	}
}

func (s *stage) groupRefused() {
	ep := s.connect("worker")
	for name, o := range map[string][]lahja.SubscribeOption{
		"DropOldest":   {lahja.Group("g"), lahja.DropOldest(), lahja.Buffer(1)},
		"WithRetained": {lahja.Group("g"), lahja.WithRetained()},
		"Observe":      {lahja.Group("g"), lahja.Observe()},
		"no name":      {lahja.Group("")},
	} {
		_, err := lahja.Subscribe(s.ctx, ep, func(context.Context, lahja.Event[item]) {}, o...)
		if !errors.Is(err, lahja.ErrDenied) {
			s.Errorf("%s: Subscribe returns %v", name, err)
		}
		if _, err := lahja.WaitFor[item](s.ctx, ep, o...); !errors.Is(err, lahja.ErrDenied) {
			s.Errorf("%s: WaitFor returns %v", name, err)
		}
		n := 0
		for _, err := range lahja.Events[item](s.ctx, ep, o...) {
			if n++; n > 1 || !errors.Is(err, lahja.ErrDenied) {
				s.Errorf("%s: Events yields %v", name, err)
			}
		}
		if n != 1 {
			s.Errorf("%s: Events yields %d pairs", name, n)
		}
		func() {
			defer func() {
				if err, _ := recover().(error); !errors.Is(err, lahja.ErrDenied) {
					s.Errorf("%s: Stream panics with %v", name, err)
				}
			}()
			lahja.Stream[item](s.ctx, ep, o...)
		}()
	}
	peers, err := ep.Peers(s.ctx)
	if s.must(err); len(peers[0].Events) > 0 {
		s.Fatalf("it subscribes to %v", peers[0].Events)
	}
}
