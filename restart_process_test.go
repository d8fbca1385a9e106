package lahja_test

import (
	"errors"
	"os/exec"
	"testing"
	"time"

	"github.com/lahja-go/lahja"
)

// crash kills the process and waits until the system has done it.
func (p *process) crash(s *stage) {
	s.Helper()
	p.kill()
	takeEnd(s, p.exited)
}

// A crashed process that starts again under its name has it at once, also where its session might
// still have been resumed; and for a child over pipes the end is told with its exit status.
func TestCrashedStartsAgain(t *testing.T) {
	for _, v := range venues[2:] {
		t.Run(v.name, func(t *testing.T) {
			captureLog(t)
			s := newStage(t, &v, [2]bool{true, true})
			watcher := s.connect("watcher")
			kept := lahja.Stream[load](s.ctx, watcher, lahja.WithRetained())
			var times []time.Duration
			var pending <-chan error
			for range 6 * scale() {
				start := time.Now()
				p := s.start("keeps", "worker")
				s.keptBy(kept, p.cmd.Process.Pid, pending != nil)
				times = append(times, time.Since(start))
				if pending != nil { // at the one before
					if err := take(s, pending); !isGone(err) {
						s.Fatalf("a request to one that was killed: %v", err)
					}
				}
				got, err := request(s, watcher, 1)
				if s.must(err); got.N != p.cmd.Process.Pid {
					s.Fatalf("process %d answers for %d", got.N, p.cmd.Process.Pid)
				}
				pending = beside(s, func() error {
					_, err := request(s, watcher, -1)
					return err
				})
				p.crash(s)
				s.wantStatus(p)
			}
			s.must(s.bus.Close())
			<-pending
			t.Logf("%d starts under one name: attached after %v (median), %v (at most)",
				len(times), quantile(times, 0.5), quantile(times, 1))
			if slow := quantile(times, 1); slow > 5*time.Second {
				t.Errorf("it took %v, as if it had waited for its session", slow)
			}
		})
	}
}

// keptBy waits until a process has retained its number, and sees the one before gone.
func (s *stage) keptBy(kept <-chan lahja.Event[load], pid int, successor bool) {
	s.Helper()
	ev := take(s, kept)
	if ev.Gone != successor {
		s.Fatalf("%+v comes first", ev)
	}
	if successor {
		ev = take(s, kept)
	}
	if ev.Gone || ev.Value.N != pid {
		s.Fatalf("%+v comes, and not of process %d", ev, pid)
	}
}

// wantStatus checks what is told of a child over pipes that was killed.
func (s *stage) wantStatus(p *process) {
	s.Helper()
	if p.child == nil {
		return
	}
	var exit *exec.ExitError
	err := p.child.Err()
	if s.wantErr(err, lahja.ErrSessionLost); !errors.As(err, &exit) || exit.ExitCode() != -1 {
		s.Fatalf("no status of a process that was killed: %v", err)
	}
}

// A bus that is killed and started again at the same address: endpoints in other processes come
// back by themselves, with what they subscribe to and retain.
func TestBusProcessRestarts(t *testing.T) {
	s := newStage(t, venueOf("tcp"), [2]bool{true, true})
	captureLog(t)
	bus, address := s.startBusAt("127.0.0.1:0")
	s.address = address
	s.start("toils", "toils")
	_, err := lahja.Connect(s.ctx, "main", placeOf("tcp "+address))
	s.wantErr(err, lahja.ErrNameTaken) // the bus's process has one of that name
	ep, err := lahja.Connect(s.ctx, "worker", placeOf("tcp "+address))
	s.must(err)
	defer ep.Close()
	items := lahja.Stream[other](s.ctx, ep, lahja.From("toils"))
	kept := lahja.Stream[item](s.ctx, ep, lahja.WithRetained())
	say(s, ep, item{-1}, lahja.RetainKey("key"))
	hear(s, kept, item{-1})
	s.until(ep, lahja.SubscribedBy[tell]("toils"))
	states := ep.WatchState(s.ctx)
	var times []time.Duration
	for n := range 3 * scale() {
		bus.crash(s)
		start := time.Now()
		bus, _ = s.startBusAt(address)
		for st := range states {
			if st.Connected && st.Restarts == uint64(n+1) {
				break
			}
		}
		s.until(ep, lahja.Present("main", "toils"))
		s.until(ep, lahja.SubscribedBy[tell]("toils"))
		times = append(times, time.Since(start))
		s.backAgain(ep, items, n)
	}
	t.Logf("%d restarts of the bus: all are back after %v (median), %v (at most)",
		len(times), quantile(times, 0.5), quantile(times, 1))
}

// backAgain checks that "worker" and "toils" are what they were, after n+1 restarts of their bus.
func (s *stage) backAgain(ep *lahja.Endpoint, items <-chan lahja.Event[other], n int) {
	s.Helper()
	link, err := lahja.Request[tell, told](s.ctx, ep, tell{uint64(n + 1)})
	if s.must(err); link.Restarts != uint64(n+1) || link.Resumes != 0 {
		s.Fatalf("after %d restarts: %+v", n+1, link)
	}
	say(s, ep, item{n}, lahja.To("toils"))
	for { // what the one that echoes has got before may come before
		ev := take(s, items)
		if ev.Value.N == n {
			break
		}
	}
	kept := lahja.Stream[item](s.ctx, ep, lahja.WithRetained(), lahja.Take(1))
	if ev := hear(s, kept, item{-1}); ev.Key != "key" || ev.Origin != "worker" {
		s.Fatalf("%+v is retained", ev)
	}
}

func venueOf(name string) *venue {
	for i := range venues {
		if venues[i].name == name {
			return &venues[i]
		}
	}
	panic("there is no venue " + name)
}
