//go:build unix

package lahja_test

import (
	"context"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/lahja-go/lahja"
)

// stop stops a process as a debugger does; cont lets it go on.
func (s *stage) stop(p *process) {
	s.Helper()
	s.must(p.cmd.Process.Signal(syscall.SIGSTOP))
}

func (s *stage) cont(p *process) {
	s.Helper()
	s.must(p.cmd.Process.Signal(syscall.SIGCONT))
}

// No silent loss: of a subscription that drops the oldest, what it got and what it is told that it
// missed is what was broadcast, also when its process was stopped meanwhile; and no publisher ever
// waits for it.
func TestDropOldestInAStoppedProcess(t *testing.T) {
	limits := lahja.Limits{Lag: 256 << 10, Stall: 500 * time.Millisecond, Resume: -1}
	for name, size := range map[string]int{"small events": 64, "large events": 64 << 10} {
		events := 5000 * scale()
		if size > 64 {
			events = 600 * min(scale(), 5) // were they not dropped by their size, 512 would be kept
		}
		betweenProcessesWith(t, name, func(s *stage) { s.dropStopped(events, size) }, limits)
	}
}

func (s *stage) dropStopped(events, size int) {
	boss := s.own("boss")
	p := s.hire("lossy", boss)
	s.tell(boss, "lossy", "drop", 100)
	say(s, boss, load{})
	if r := s.tell(boss, "lossy", "read", 1); r.N != 1 {
		s.Fatalf("%+v", r)
	}
	s.stop(p)
	ctx, cancel := context.WithTimeout(s.ctx, 20*time.Second*time.Duration(scale()))
	defer cancel()
	start, longest := time.Now(), time.Duration(0)
	for n := range events {
		before := time.Now()
		s.must(lahja.Broadcast(ctx, boss, load{N: n + 1, Data: make([]byte, size)}))
		longest = max(longest, time.Since(before))
	}
	elapsed := time.Since(start)
	event := lahja.EventName[load]()
	if st := statOf(s, boss.Stats(), "boss", event); st.Waited > 0 {
		s.Errorf("the publisher has waited: %+v", st)
	}
	dropped := statOf(s, s.bus.Stats(), "lossy", event).Missed
	s.cont(p)
	say(s, boss, load{N: events + 1}) // tells what was dropped before it
	r := s.tell(boss, "lossy", "read", events+1)
	s.Logf("%d broadcast in %v, the longest in %v: %d delivered, %d missed, %d of those at the bus",
		events+1, elapsed, longest, r.N, r.Missed, dropped)
	if r.N+int(r.Missed) != events+1 || dropped == 0 {
		s.Errorf("%d delivered and %d missed of %d; %d dropped at the bus",
			r.N, r.Missed, events+1, dropped)
	}
	here := statOf(s, s.bus.Stats(), "lossy", event).Missed
	if there := s.tell(boss, "lossy", "stat", 0).Stat.Missed; here+there != r.Missed {
		s.Errorf("%d dropped at the bus and %d there, where %d are told", here, there, r.Missed)
	}
}

// betweenProcessesWith is betweenProcesses with options for the bus.
func betweenProcessesWith(t *testing.T, name string, show func(*stage), opts ...lahja.BusOption) {
	t.Run(name, func(t *testing.T) {
		for _, v := range venues[2:] {
			t.Run(v.name, func(t *testing.T) {
				show(newStage(t, &v, [2]bool{true, true}, opts...))
			})
		}
	})
}

// Isolation: an endpoint whose process has stopped while publishers wait for it is warned of, and
// its session is ended after the limit, whatever it subscribes to; the publishers go on.
func TestStoppedProcessIsCut(t *testing.T) {
	limit := 1500 * time.Millisecond
	if scale() > 1 {
		limit = 5 * time.Second
	}
	log := captureLog(t)
	for _, v := range venues[2:] {
		t.Run(v.name, func(t *testing.T) {
			t.Parallel()
			s := newStage(t, &v, [2]bool{true, true}, lahja.Limits{Lag: 256 << 10, Stall: limit})
			s.cutStopped(log, limit)
		})
	}
}

func (s *stage) cutStopped(log *logText, limit time.Duration) {
	boss := s.own("boss")
	name := "stopped over " + s.venue.name
	p := s.hire(name, boss)
	s.tell(boss, name, "subscribe", 0)
	reading := lahja.Stream[load](s.ctx, s.connect("reading"))
	var got atomic.Int64
	s.group.Go(func() {
		for range reading {
			got.Add(1)
		}
	})
	s.stop(p)
	pubs := []*lahja.Endpoint{boss, s.connect("pub")}
	took := make(chan time.Duration, len(pubs))
	const events = 1000
	for _, pub := range pubs {
		s.group.Go(func() {
			start := time.Now()
			for n := range events {
				err := lahja.Broadcast(s.ctx, pub, load{N: n, Data: make([]byte, 1<<10)})
				if err != nil {
					s.Errorf("%s: %v", pub.Name(), err)
					break
				}
			}
			took <- time.Since(start)
		})
	}
	for range pubs {
		d := take(s, took)
		s.Logf("a publisher was held up for %v", d)
		if d < limit || d > limit+slack() {
			s.Errorf("it should be about %v", limit)
		}
	}
	s.until(boss, not(lahja.Present(name)))
	for _, want := range []string{"ended=false", "ended=true", "load", "pub", "level=WARN"} {
		if !linesWith(log.String(), `subscriber="`+name, want) {
			s.Errorf("the log does not say %s: %s", want, log)
		}
	}
	s.cont(p)
	if s.venue.name == "tcp" {
		s.until(boss, lahja.Present(name)) // it begins another session
		p.kill()
	}
	takeEnd(s, p.exited) // it finds that its session has ended
	for got.Load() < 2*events {
		if s.ctx.Err() != nil {
			s.Fatalf("the other subscription has got %d events", got.Load())
		}
		time.Sleep(time.Millisecond)
	}
}

// linesWith reports whether a line has both texts.
func linesWith(text, one, other string) bool {
	for line := range strings.Lines(text) {
		if strings.Contains(line, one) && strings.Contains(line, other) {
			return true
		}
	}
	return false
}
