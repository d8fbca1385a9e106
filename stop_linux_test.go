package lahja_test

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/lahja-go/lahja"
)

// These limits of the tests below leave a stopped process some time in which it may go on, and the
// machine some in which it does something else.
const (
	stopBeat   = 250 * time.Millisecond
	stopWindow = 4 * time.Second
	stopSlack  = 150 * time.Millisecond
)

// said waits for a message in the log, and returns when it was written.
func (l records) said(s *stage, message string) time.Time {
	s.Helper()
	for {
		if r := take(s, l); r.Message == message {
			return r.Time
		}
	}
}

// stops is how often the tests stop a process.
func stops() int {
	if scale() > 1 {
		return 50
	}
	return 2
}

// foundInTime prints how long it took to find that a process was stopped, and checks it.
func foundInTime(t testing.TB, found []time.Duration) {
	t.Helper()
	t.Logf("stopped %d times, found after %v (median), %v (at most) with a heartbeat of %v",
		len(found), quantile(found, 0.5), quantile(found, 1), stopBeat)
	late, slack := quantile(found, 0.99), stopSlack
	if len(found) < 20 { // a few say more of what else the machine does
		late, slack = quantile(found, 0.5), stopSlack+time.Second
	}
	if late > 2*stopBeat+slack {
		t.Errorf("found after %v, where twice the heartbeat is %v", late, 2*stopBeat)
	}
}

// A process that is stopped is noticed by the bus, which keeps its session. When it goes on in time
// nothing is lost: neither what others sent it meanwhile, nor what it was about to send.
func TestStoppedEndpoint(t *testing.T) {
	for _, v := range venues[2:] {
		t.Run(v.name, func(t *testing.T) { stoppedEndpoint(t, &v) })
	}
}

func stoppedEndpoint(t *testing.T, v *venue) {
	s := newStage(t, v, [2]bool{true, true},
		lahja.Limits{Heartbeat: stopBeat, Resume: stopWindow})
	log := logRecords(t)
	main, bystander := s.own("main"), s.connect("bystander")
	events := numbersOf(s, lahja.Stream[load](s.ctx, main, lahja.From("toils")),
		func(l load) int { return l.N })
	p := s.start("toils", "toils")
	s.until(main, lahja.SubscribedBy[tell]("toils"))
	got := &series{}
	finish := []func() int{s.echoed(main, "toils"), s.between(main, bystander)}
	random := rand.New(rand.NewPCG(1, 2))
	var found []time.Duration
	for n := range stops() {
		s.stop(p)
		at := time.Now()
		found = append(found, log.said(s, "lahja: an endpoint has fallen silent").Sub(at))
		asked := beside(s, func() answer {
			got, err := request(s, bystander, n)
			if err != nil {
				s.Errorf("a question to one that is stopped: %v", err)
			}
			return got
		})
		rest := stopWindow - 2*stopBeat - time.Second
		time.Sleep(time.Duration(random.Int64N(int64(rest) / 2))) // it rests so long
		s.cont(p)
		if a := take(s, asked); a.N != 2*n {
			s.Errorf("the answer is %d", a.N)
		}
		for end := got.next + 100; got.next < end; { // what it goes on with
			got.add(take(s, events))
		}
	}
	foundInTime(t, found)
	if got.missing != 0 || got.spare != 0 {
		t.Errorf("of %d events from it %d are missing and %d too much", got.next, got.missing,
			got.spare)
	}
	link, err := lahja.Request[tell, told](s.ctx, main, tell{})
	if s.must(err); link.Restarts != 0 || link.Lost != 0 {
		t.Errorf("its state: %+v", link)
	}
	t.Logf("events from it %d, to it and back %d, beside it %d; it has resumed %d times",
		got.next, finish[0](), finish[1](), link.Resumes)
	p.crash(s)
}

// A process that is stopped for longer than its session lives comes back by itself, in a new one;
// it knows how many events it has perhaps lost, and no others are.
func TestStoppedTooLong(t *testing.T) {
	s := newStage(t, venueOf("tcp"), [2]bool{true, true},
		lahja.Limits{Heartbeat: stopBeat, Resume: 2 * stopBeat})
	logRecords(t)
	main := s.own("main")
	events := numbersOf(s, lahja.Stream[load](s.ctx, main, lahja.From("toils")),
		func(l load) int { return l.N })
	p := s.start("toils", "toils")
	s.until(main, lahja.SubscribedBy[tell]("toils"))
	got := &series{}
	for range stops() {
		s.stop(p)
		for i := range 100 { // which are lost
			say(s, main, item{i}, lahja.To("toils"))
		}
		s.until(main, not(lahja.Present("toils")))
		s.cont(p)
		s.until(main, lahja.SubscribedBy[tell]("toils"))
		for end := got.next + 100; got.next < end; {
			got.add(take(s, events))
		}
	}
	link, err := lahja.Request[tell, told](s.ctx, main, tell{uint64(stops())})
	s.must(err)
	t.Logf("stopped %d times: %d events from it, %d missing; it says %+v",
		stops(), got.next, got.missing, link)
	if got.spare != 0 || uint64(got.missing) > link.Lost || link.Restarts != uint64(stops()) {
		t.Errorf("%d events are too much, %d missing, and it says %+v", got.spare, got.missing,
			link)
	}
	p.crash(s)
}

// A bus whose process is stopped is noticed by its endpoints, which dial it again. When it goes on
// in time they resume their sessions, and nothing between them is lost.
func TestStoppedBus(t *testing.T) {
	s := newStage(t, venueOf("tcp"), [2]bool{true, true})
	logRecords(t)
	bus, address := s.startBusAt("127.0.0.1:0", bound(stopBeat, 2*stopWindow))
	left, right := s.dial("left", address), s.dial("right", address)
	answerWith(s, right, double)
	finish := s.between(left, right)
	states := []<-chan lahja.State{left.WatchState(s.ctx), right.WatchState(s.ctx)}
	var found []time.Duration
	for n := range stops() {
		s.stop(bus)
		at := time.Now()
		for _, c := range states {
			st := s.state(c, broken)
			found = append(found, time.Since(at))
			if st.Err == nil {
				t.Errorf("the state is %+v", st)
			}
		}
		asked := beside(s, func() answer {
			a, err := request(s, left, n)
			if err != nil {
				s.Errorf("a question while the bus is stopped: %v", err)
			}
			return a
		})
		time.Sleep(time.Duration(rand.Int64N(int64(stopWindow) / 4))) // it rests so long
		s.cont(bus)
		for _, c := range states {
			s.state(c, resumed(uint64(n+1)))
		}
		if a := take(s, asked); a.N != 2*n {
			s.Errorf("the answer is %d", a.N)
		}
	}
	foundInTime(t, found)
	t.Logf("between the endpoints %d events, all as they should", finish())
	left.Close()
	right.Close()
	bus.crash(s)
}

// A bus that is stopped for longer than sessions live has its endpoints back when it goes on.
func TestStoppedBusTooLong(t *testing.T) {
	s := newStage(t, venueOf("tcp"), [2]bool{true, true})
	log := logRecords(t)
	bus, address := s.startBusAt("127.0.0.1:0", bound(stopBeat, 2*stopBeat))
	left, right := s.dial("left", address), s.dial("right", address)
	items := lahja.Stream[item](s.ctx, right)
	states := []<-chan lahja.State{left.WatchState(s.ctx), right.WatchState(s.ctx)}
	for n := range stops() {
		s.stop(bus)
		for range states {
			log.said(s, "lahja: the session with the bus is lost, and perhaps events")
		}
		s.cont(bus)
		for _, c := range states {
			s.state(c, restarted(uint64(n+1)))
		}
		say(s, left, item{n})
		if ev := hear(s, items, item{n}); !ev.Gap() {
			t.Errorf("%+v has no gap before it", ev)
		}
	}
	left.Close()
	right.Close()
	bus.crash(s)
}

// dial attaches an endpoint to the bus at that address.
func (s *stage) dial(name, address string) *lahja.Endpoint {
	s.Helper()
	ep, err := lahja.Connect(s.ctx, name, placeOf("tcp "+address))
	s.must(err)
	s.Cleanup(func() { ep.Close() })
	return ep
}

// state waits for a state that f accepts.
func (s *stage) state(states <-chan lahja.State, f func(lahja.State) bool) lahja.State {
	s.Helper()
	for {
		if st := take(s, states); f(st) {
			return st
		}
	}
}
