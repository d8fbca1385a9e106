package lahja_test

import (
	"context"
	"encoding/binary"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/lahja-go/lahja"
	"github.com/lahja-go/lahja/internal/wire"
)

// What checks the tests of a broken wire can fail.

func TestCompareSees(t *testing.T) {
	for _, c := range []struct {
		got  []int
		want flaws
	}{
		{[]int{0, 1, 2, 3}, flaws{}},
		{[]int{0, 2, 3}, flaws{Lost: 1}},
		{[]int{0, 1, 2, 2, 3}, flaws{Doubled: 1}},
		{[]int{0, 1, 2, 3, 0}, flaws{Doubled: 1}},
		{[]int{0, 2, 1, 3}, flaws{Reordered: 1}},
		{[]int{0, 1, 2, 3, 4}, flaws{Wrong: 1}},
		{nil, flaws{Lost: 4}},
	} {
		if f := compare(upTo(4), c.got); f != c.want {
			t.Errorf("%v: %+v, and not %+v", c.got, f, c.want)
		}
	}
}

// forging is a transport that changes frames of what is written, with checksums that are right: an
// engine of which one side is broken.
type forging struct {
	lahja.Transport
	forge func(frame []byte) // an event's; it begins with its type
}

func (f *forging) Redials() bool { return true }

func (f *forging) Dial(ctx context.Context) (lahja.Conn, error) {
	c, err := f.Transport.Dial(ctx)
	if err != nil {
		return nil, err
	}
	return &forgingConn{c, f.forge}, nil
}

type forgingConn struct {
	lahja.Conn
	forge func([]byte)
}

// Write changes one record, which is what one Write has.
func (c *forgingConn) Write(p []byte) (int, error) {
	if !strings.HasPrefix(string(p), wire.Preface) {
		for rest := p[wire.HeaderSize:]; len(rest) > 0; {
			length := wire.FrameHeader + int(binary.BigEndian.Uint32(rest[2:]))
			if wire.Type(rest[0]) == wire.TypeEvent {
				c.forge(rest[:length])
			}
			rest = rest[length:]
		}
		first := binary.BigEndian.Uint64(p[4:])
		wire.PutHeader(p, p[wire.HeaderSize:], first)
	}
	return c.Conn.Write(p)
}

// An event that vanishes on its way, or of which a byte is another, is noticed.
func TestRecitalSeesForgery(t *testing.T) {
	const ignored = 0x9f // a type of frame that is counted and means nothing
	for name, forge := range map[string]func([]byte){
		"dropped": func(frame []byte) { frame[0] = ignored },
		"changed": func(frame []byte) { frame[len(frame)-1]++ },
		"nothing": func([]byte) {},
	} {
		t.Run(name, func(t *testing.T) {
			cross(t, lahja.Limits{}, nil, func(c *crossing) {
				verses := 0
				f, _ := c.recite(3, &forging{c.wire, func(frame []byte) {
					if len(frame) > verse { // the longest of all
						if verses++; verses == 4 {
							forge(frame)
						}
					}
				}})
				noticed := f.Lost+f.Wrong > 0 && f.Failed == 0
				if noticed == (name == "nothing") || verses != 6 {
					c.Errorf("%d events: %+v", verses, f)
				}
			})
		})
	}
}

// roughWeather has a session lost while everything goes on.
func roughWeather() weather {
	acts := [][]deed{nil, nil, nil}
	for i := range acts {
		for what := range kindsOfDeeds {
			acts[i] = append(acts[i], deed{Crew: i, What: what, To: -1, Wait: 1}, deed{
				Crew: i, What: int(words), To: -1,
			})
		}
	}
	return weather{Crews: 2, Rounds: []gusts{
		{Acts: acts}, {Acts: acts, Faults: []blow{{What: outages, Crew: 1}}},
	}}
}

// Each way in which the promises can be broken is noticed.
func TestSurvivalCheckerSees(t *testing.T) {
	// The nth event that a subscription of b gets, or a, whose session is lost.
	nth := func(
		name string, kind kindOfWords, n int, as func(heard) []heard,
	) func(*hearing, heard) []heard {
		var one *hearing
		return func(h *hearing, g heard) []heard {
			if h.at.name != name || h.kind != kind || one != nil && one != h {
				return []heard{g}
			}
			one = h
			if n--; n == 0 {
				return as(g)
			}
			return []heard{g}
		}
	}
	drop := func(heard) []heard { return nil }
	double := func(g heard) []heard { return []heard{g, g} }
	gap := func(g heard) []heard { g.gap = true; return []heard{g} }
	other := func(g heard) []heard { g.n--; return []heard{g} }
	origin := func(g heard) []heard { g.origin += "x"; return []heard{g} }
	hidden := func(_ *hearing, g heard) []heard { g.gap = false; return []heard{g} }
	for name, tamper := range map[string]func(*hearing, heard) []heard{
		"word dropped":    nth("b", words, 9, drop),
		"word doubled":    nth("b", words, 9, double),
		"another word":    nth("b", words, 9, other),
		"another origin":  nth("b", words, 9, origin),
		"a gap":           nth("b", words, 9, gap),
		"task doubled":    nth("b", tasks, 2, double),
		"task dropped":    nth("b", tasks, 1, drop),
		"gap not told":    hidden,
		"signs not heard": deafTo(signs),
		"words not heard": deafTo(words),
		"nothing":         nil,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := roughWeather()
				err := w.storm(t, tamper)
				if (err != nil) == (name == "nothing") {
					t.Errorf("noticed: %v", err)
				}
			})
		})
	}
}

func deafTo(kind kindOfWords) func(*hearing, heard) []heard {
	return func(h *hearing, g heard) []heard {
		if h.kind == kind {
			return nil
		}
		return []heard{g}
	}
}
