package lahja_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/lahja-go/lahja"
	"github.com/lahja-go/lahja/transports/faulty"
)

// recitalRounds makes a session of about 32 KiB.
const recitalRounds = 22

// recitalSize returns how many bytes go in each direction when nothing breaks.
func recitalSize(t *testing.T, rounds int) (out, in int64) {
	t.Helper()
	cross(t, lahja.Limits{}, nil, func(c *crossing) {
		if f, _ := c.recite(rounds, c.wire); f != (flaws{}) {
			c.Fatalf("without a fault: %+v", f)
		}
		s := c.wire.Stats()
		out, in = int64(s.Out), int64(s.In)
	})
	return out, in
}

// every is how many bytes are between two that are tried.
func every(soak int64, ci int64) int64 {
	if scale() > 1 {
		return soak
	}
	return ci
}

// sweep is many sessions, each with another fault, and what came of them.
type sweep struct {
	*testing.T
	flaws  flaws
	runs   int
	faults faulty.Stats
	begun  time.Time
}

// run has one session with the faults that plan says.
func (s *sweep) run(what string, plan func(n int) []faulty.Fault) {
	s.Helper()
	cross(s.T, lahja.Limits{}, func(n int, _ *rand.Rand) []faulty.Fault { return plan(n) },
		func(c *crossing) {
			f, _ := c.recite(recitalRounds, c.wire)
			if f != (flaws{}) {
				c.Errorf("%s: %+v", what, f)
			}
			s.flaws.add(f)
			s.faults.Cut += c.wire.Stats().Cut
		})
	s.runs++
}

func (s *sweep) String() string {
	return fmt.Sprintf("%d sessions with %d cuts in %v: %+v", s.runs, s.faults.Cut,
		time.Since(s.begun).Round(time.Millisecond), s.flaws)
}

// eachWay calls f for both directions, with the bytes that go there, and both endings.
func eachWay(out, in int64, f func(d faulty.Direction, size int64, how faulty.Ending)) {
	for _, how := range []faulty.Ending{faulty.Reset, faulty.Hangup} {
		f(faulty.Out, out, how)
		f(faulty.In, in, how)
	}
}

// A session of every kind of traffic that is cut after any one of its bytes, in either direction
// and in either way, shows nothing of it.
func TestCutAfterEveryByte(t *testing.T) {
	out, in := recitalSize(t, recitalRounds)
	t.Logf("a session of %d bytes out and %d in", out, in)
	if out+in < 32<<10 {
		t.Errorf("that is less than 32 KiB")
	}
	s := &sweep{T: t, begun: time.Now()}
	eachWay(out, in, func(d faulty.Direction, size int64, how faulty.Ending) {
		for at := int64(0); at <= size && !t.Failed(); at += every(1, 997) {
			s.run(fmt.Sprintf("%v after byte %d %v", how, at, d), func(n int) []faulty.Fault {
				if n > 1 {
					return nil
				}
				return []faulty.Fault{faulty.CutAt(d, at, how)}
			})
		}
	})
	t.Log(s)
}

// Neither does one that is resumed by the third connection, of which the second was cut after any
// one of the bytes of its handshake and of what follows.
func TestResumeCutAfterEveryByte(t *testing.T) {
	const first, size = 4000, 800
	s := &sweep{T: t, begun: time.Now()}
	eachWay(size, size, func(d faulty.Direction, size int64, how faulty.Ending) {
		for at := int64(0); at <= size && !t.Failed(); at += every(1, 97) {
			s.run(fmt.Sprintf("%v after byte %d %v of the second connection", how, at, d),
				func(n int) []faulty.Fault {
					switch n {
					case 1:
						return []faulty.Fault{faulty.CutAt(faulty.Both, first, how)}
					case 2:
						return []faulty.Fault{faulty.CutAt(d, at, how)}
					}
					return nil
				})
		}
	})
	t.Log(s)
}
