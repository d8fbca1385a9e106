package lahja_test

import (
	"context"
	"errors"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lahja-go/lahja"
	"github.com/lahja-go/lahja/internal/session"
	"github.com/lahja-go/lahja/internal/wire"
	"github.com/lahja-go/lahja/transports/memory"
)

// These tests walk the table of states in docs/wire.md: each frame in each state of a session, to a
// bus and to an endpoint.

// cell is what the document says of a frame in a state.
type cell struct{ frame, state, meaning string }

// stateTable reads the table.
func stateTable(t *testing.T) (cells []cell) {
	t.Helper()
	text, err := os.ReadFile("docs/wire.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "| frame | handshake | open | leaving")
	states := []string{"handshake", "open", "leaving", "left"}
	for _, line := range strings.Split(rest, "\n")[2:] {
		if !strings.HasPrefix(line, "|") {
			break
		}
		columns := strings.Split(strings.Trim(line, "| "), " | ")
		frames := strings.FieldsFunc(columns[0], func(r rune) bool { return r == ',' || r == ';' })
		if len(columns) != 5 {
			t.Fatalf("a row of %d columns: %s", len(columns), line)
		}
		if strings.HasPrefix(columns[0], "unknown") {
			frames = []string{columns[0]}
		}
		for _, f := range frames {
			for i, s := range states {
				cells = append(cells, cell{strings.TrimSpace(f), s, columns[i+1]})
			}
		}
	}
	return cells
}

// sample is a frame as a peer would send it who means well.
type sample struct {
	from   string // E: only endpoints send it, B: only buses; or either
	frames []byte
}

func control(t wire.Type, v any) []byte { return wire.AppendControl(nil, t, v) }
func numbers(t wire.Type, v ...uint64) []byte {
	return wire.AppendUvarints(nil, t, v...)
}

// tick and teller are the numbers that the strangers of these tests use for a name of an event and
// of an endpoint.
const tick, teller = 1, 2

func samplesOf(role string, theirs uint64) map[string][]sample {
	event := &wire.Event{Name: tick}
	if role == "bus" {
		event = &wire.Event{Name: tick, Flags: wire.FlagOrigin, Origin: teller}
	}
	one := func(from string, frames []byte) []sample { return []sample{{from, frames}} }
	return map[string][]sample{
		"Hello": one("E", control(wire.TypeHello,
			wire.Hello{MinVersion: 1, MaxVersion: 1, Name: "x"})),
		"Welcome": one("B", control(wire.TypeWelcome,
			wire.Welcome{Version: 1, MaxFrame: 1 << 20})),
		"Refusal":    one("B", control(wire.TypeRefusal, wire.Refusal{Message: "no"})),
		"Name":       one("", wire.AppendName(nil, wire.Name{Number: 9, Name: "nine"})),
		"Event":      one("", wire.AppendEvent(nil, event)),
		"Taken":      one("", numbers(wire.TypeTaken, 0, 1)),
		"Return":     one("E", numbers(wire.TypeReturn, 0)),
		"Window":     one("B", numbers(wire.TypeWindow, theirs, 1, 1<<20)),
		"WindowAck":  one("E", numbers(wire.TypeWindowAck, tick, 0)),
		"Subscribe":  one("E", control(wire.TypeSubscribe, wire.Subscribe{ID: 5, Event: "tock"})),
		"Subscribed": one("B", control(wire.TypeSubscribed, wire.Subscribed{ID: 5})),
		"Answer":     one("B", control(wire.TypeAnswer, wire.Answer{ID: 5})),
		"Leave":      one("E", control(wire.TypeLeave, wire.Leave{ID: 5})),
		"Forget":     one("E", control(wire.TypeForget, wire.Forget{Event: "tock"})),
		"Watch":      one("E", numbers(wire.TypeWatch, 1, 1)),
		"Held":       one("", control(wire.TypeHeld, wire.Held{Number: tick})),
		"Reply": one("", wire.AppendReply(nil,
			&wire.Reply{Call: 77, Final: true, Code: "x: y"})),
		"End":     one("", wire.AppendEnd(nil, wire.End{Call: 77})),
		"Cancel":  one("", numbers(wire.TypeCancel, 77)),
		"Ask":     one("E", control(wire.TypeAsk, wire.Ask{ID: 5, Event: "tock"})),
		"Peer":    one("B", control(wire.TypePeer, wire.Peer{Name: "x"})),
		"Peers":   one("B", numbers(wire.TypePeers, 1, 0)),
		"Drain":   one("B", wire.Append(nil, wire.TypeDrain, nil)),
		"Goodbye": one("", control(wire.TypeGoodbye, wire.Goodbye{})),
		"Confirm": one("", numbers(wire.TypeConfirm, 0)),
		"Ping":    one("", wire.Append(nil, wire.TypePing, nil)),
		"Pong":    one("", wire.Append(nil, wire.TypePong, nil)),
		"Void":    one("", wire.Append(nil, wire.TypeVoid, []byte("any"))),

		"unknown, 80–bf": unknown(0x80, 0xbf),
		"unknown, c0–ff": unknown(0xc1, 0xff),
		"unknown, below 80; Room": slices.Concat(
			unknown(0x46, 0x7f), unknown(0x17, 0x3f), unknown(0x09, 0x09)),
	}
}

func unknown(from, to int) (all []sample) {
	for t := from; t <= to; t++ {
		all = append(all, sample{"", wire.Append(nil, wire.Type(t), []byte("any"))})
	}
	return all
}

// stranger is one end of a connection that this test writes byte by byte.
type stranger struct {
	testing.TB
	conn     io.ReadWriteCloser
	position uint64 // of its next numbered frame
	heard    chan wire.Frame
	answers  []wire.Type // what blamed has come across
}

// record writes frames as one record.
func (s *stranger) record(frames []byte) {
	record := append(make([]byte, wire.HeaderSize), frames...)
	wire.PutHeader(record, frames, s.position)
	for rest := frames; len(rest) > 0; {
		f, after, err := wire.Next(rest, wire.MaxFrame)
		if err != nil {
			s.Fatal(err)
		}
		if f.Type.Numbered() {
			s.position++
		}
		rest = after
	}
	_, _ = s.conn.Write(record) // that it may fail is what the tests are about
}

func (s *stranger) preface(t wire.Type, v any) {
	frame := wire.AppendControl(nil, t, v)
	record := append(make([]byte, wire.HeaderSize), frame...)
	wire.PutHeader(record, frame, 0)
	_, _ = s.conn.Write(append([]byte(wire.Preface), record...))
}

// listen hands on the frames that come; the channel closes when the connection ends.
func (s *stranger) listen() {
	s.heard = make(chan wire.Frame, 1000)
	go func() {
		defer close(s.heard)
		if _, err := io.ReadFull(s.conn, make([]byte, len(wire.Preface))); err != nil {
			return
		}
		for {
			head := make([]byte, wire.HeaderSize)
			if _, err := io.ReadFull(s.conn, head); err != nil {
				return
			}
			h, err := wire.ParseHeader(head, 2<<20)
			body := make([]byte, h.Length)
			if _, failed := io.ReadFull(s.conn, body); err != nil || failed != nil {
				return
			}
			for len(body) > 0 {
				var f wire.Frame
				if f, body, err = wire.Next(body, wire.MaxFrame); err != nil {
					return
				}
				s.heard <- f
			}
		}
	}()
}

// until waits for a frame of a type.
func (s *stranger) until(t wire.Type) wire.Frame {
	s.Helper()
	for f := range s.heard {
		if f.Type == t {
			return f
		}
	}
	s.Fatalf("the connection ends before a frame of type %#02x", uint8(t))
	panic("unreachable")
}

// blamed reports whether the other side takes what it got for a mistake: it says so, or it ends the
// connection without a word, at once. What it says else is in answers.
func (s *stranger) blamed() bool {
	synctest.Wait()
	for {
		select {
		case f, open := <-s.heard:
			if !open {
				return true
			}
			s.answers = append(s.answers, f.Type)
			if f.Type == wire.TypeRefusal {
				return true
			}
			var g wire.Goodbye
			if f.Type == wire.TypeGoodbye {
				if err := wire.ParseControl(f.Body, &g); err != nil {
					s.Fatal(err)
				}
				return g.Code == string(lahja.ErrProtocol)
			}
		default:
			return false
		}
	}
}

// toBus has a stranger send frames to a bus in that state of a session, which can be resumed or
// not, and reports whether it is blamed, and what comes back.
func toBus(
	t *testing.T, state string, resumable bool, frames []byte,
) (blamed bool, back []wire.Type) {
	synctest.Test(t, func(t *testing.T) {
		place := memory.New()
		l, err := place.Listen(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		bus := lahja.NewBus()
		own, err := bus.Endpoint("own")
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		served := make(chan error, 1)
		go func() { served <- bus.ServeListener(ctx, l) }()
		conn, err := place.Dial(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		s := &stranger{TB: t, conn: conn}
		s.listen()
		if state == "handshake" {
			_, _ = conn.Write([]byte(wire.Preface))
			s.record(frames)
		} else {
			hello := wire.Hello{MinVersion: 1, MaxVersion: 1, Name: "stranger"}
			if resumable {
				hello.Features = []string{"resume"}
			}
			s.preface(wire.TypeHello, hello)
			s.until(wire.TypeWelcome)
			s.record(wire.AppendName(nil, wire.Name{Number: tick, Name: "tick"}))
			s.record(wire.AppendEvent(nil, &wire.Event{Name: tick}))
			s.record(control(wire.TypeSubscribe,
				wire.Subscribe{ID: 1, Event: lahja.EventName[item]()}))
			s.until(wire.TypeSubscribed)
			if err := lahja.Broadcast(t.Context(), own, item{1}); err != nil {
				t.Fatal(err)
			}
			s.until(wire.TypeEvent) // in slot 0
			if state == "leaving" {
				stop()
				s.until(wire.TypeGoodbye)
			}
			s.record(frames)
		}
		blamed, back = s.blamed(), s.answers
		conn.Close()
		stop()
		bus.Close()
		<-served
	})
	return blamed, back
}

// toEndpoint is toBus for a stranger that is the bus.
func toEndpoint(
	t *testing.T, state string, resumable bool, frames func(theirs uint64) []byte,
) (blamed bool, back []wire.Type) {
	synctest.Test(t, func(t *testing.T) {
		place := memory.New()
		l, err := place.Listen(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		type connected struct {
			ep  *lahja.Endpoint
			err error
		}
		done := make(chan connected, 1)
		go func() {
			ep, err := lahja.Connect(t.Context(), "ep", place)
			done <- connected{ep, err}
		}()
		conn, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		s := &stranger{TB: t, conn: conn}
		s.listen()
		s.until(wire.TypeHello)
		if state == "handshake" {
			_, _ = conn.Write([]byte(wire.Preface))
			s.record(frames(0))
			c := <-done
			if c.ep != nil {
				go c.ep.Close()
				conn.Close()
			}
			var refused *lahja.RemoteError
			blamed = c.err != nil && !errors.As(c.err, &refused)
			return
		}
		s.preface(wire.TypeWelcome, welcomeTo("ep", resumable))
		c := <-done
		if c.err != nil {
			t.Fatal(c.err)
		}
		defer func() {
			conn.Close()
			c.ep.Close()
		}()
		if err := lahja.Broadcast(t.Context(), c.ep, item{1}); err != nil {
			t.Fatal(err)
		}
		name, err := wire.ParseName(s.until(wire.TypeName).Body)
		if err != nil {
			t.Fatal(err)
		}
		s.record(wire.AppendName(nil, wire.Name{Number: tick, Name: "tick"}))
		s.record(wire.AppendName(nil, wire.Name{Number: teller, Name: "teller"}))
		if state == "leaving" {
			go c.ep.Close()
			s.until(wire.TypeGoodbye)
		}
		s.record(frames(name.Number))
		blamed, back = s.blamed(), s.answers
	})
	return blamed, back
}

// welcomeTo admits an endpoint to a session, which can be resumed or not.
func welcomeTo(name string, resumable bool) wire.Welcome {
	w := wire.Welcome{Version: wire.Version, Name: name, MaxFrame: 1 << 20, Lag: 1 << 20}
	if resumable {
		w.Session, w.Token, w.ResumeWindow = make([]byte, 16), make([]byte, 16), 10_000
	}
	return w
}

// deaf is a handler that does not answer a Goodbye, so that its link stays in the state left. It
// knows no frames.
type deaf struct{}

func (deaf) Frame(f wire.Frame) error {
	if f.Type.Ignorable() {
		return nil
	}
	return &session.ProtocolError{Reason: "unknown"}
}

func (deaf) Pull(dst []byte) ([]byte, uint64) { return dst, 0 }
func (deaf) Goodbye(wire.Goodbye)             {}
func (deaf) Silent(time.Duration)             {}
func (deaf) Ended(error, int)                 {}

// toLeft is toBus for one who has said goodbye before, which is the same for both.
func toLeft(t *testing.T, resumable bool, frames []byte) (blamed bool) {
	synctest.Test(t, func(t *testing.T) {
		place := memory.New()
		l, err := place.Listen(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		ours, err := place.Dial(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		theirs, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		opt := session.Options{MaxFrame: wire.MaxFrame, Limit: 1 << 20}
		if resumable {
			opt.Window = time.Minute
		}
		link := session.New(deaf{}, opt)
		carried := make(chan error, 1)
		go func() { carried <- link.Carry(theirs, session.Start{}) }()
		s := &stranger{TB: t, conn: ours}
		s.record(wire.AppendControl(nil, wire.TypeGoodbye, wire.Goodbye{}))
		s.record(frames)
		synctest.Wait()
		link.Kill(context.Canceled)
		err = <-carried
		var fouled *session.ProtocolError
		blamed = errors.As(err, &fouled)
		ours.Close()
	})
	return blamed
}

// Every frame in every state of a session means to a bus and to an endpoint what the document says.
func TestFramesInStates(t *testing.T) {
	cells := stateTable(t)
	if len(cells) < 100 {
		t.Fatalf("the table has %d cells", len(cells))
	}
	walked := 0
	for _, c := range cells {
		for _, role := range []string{"bus", "endpoint"} {
			for _, resumable := range []bool{false, true} {
				walked += c.walk(t, role, resumable)
			}
		}
	}
	t.Logf("%d frames in states", walked)
}

// answered are the frames that are answered in the state open, and in no other.
var answered = map[string]wire.Type{
	"bus Subscribe": wire.TypeSubscribed, "bus Ask": wire.TypeAnswer, "bus Watch": wire.TypePeers,
	"bus Ping": wire.TypePong, "bus Goodbye": wire.TypeGoodbye,
	"endpoint Window": wire.TypeWindowAck, "endpoint Drain": wire.TypeGoodbye,
	"endpoint Ping": wire.TypePong, "endpoint Goodbye": wire.TypeGoodbye,
}

// walk sends each sample of the cell's frame in its state to a bus or an endpoint, and returns how
// many there were.
func (c cell) walk(t *testing.T, role string, resumable bool) int {
	t.Helper()
	other := map[string]string{"bus": "endpoint", "endpoint": "bus"}[role]
	samples := samplesOf(other, 0)[c.frame]
	if samples == nil {
		t.Fatalf("there is no sample of %q", c.frame)
	}
	for i, sample := range samples {
		var got bool
		var back []wire.Type
		switch {
		case c.state == "left":
			got = toLeft(t, resumable, sample.frames)
		case role == "bus":
			got, back = toBus(t, c.state, resumable, sample.frames)
		default:
			got, back = toEndpoint(t, c.state, resumable, func(theirs uint64) []byte {
				return samplesOf(other, theirs)[c.frame][i].frames
			})
		}
		if want := c.mistake(role, sample); got != want {
			t.Errorf("%s in the state %s to the %s: a mistake: %v, and %q says %v",
				c.frame, c.state, role, got, c.meaning, want)
		}
		want, is := answered[role+" "+c.frame]
		if is && c.state != "handshake" && slices.Contains(back, want) != (c.state == "open") {
			t.Errorf("%s in the state %s to the %s: %#02x comes back", c.frame, c.state, role, back)
		}
	}
	return len(samples)
}

// mistake reports whether the sample is an error for a bus, or an endpoint, in the cell's state.
func (c cell) mistake(role string, s sample) bool {
	sender := map[string]string{"bus": "E", "endpoint": "B"}[role]
	switch {
	case strings.Contains(c.meaning, "to a bus an **error**"):
		return role == "bus"
	case strings.Contains(c.meaning, "to an endpoint an **error**"):
		return role == "endpoint"
	case c.frame == "Goodbye" && c.state == "leaving":
		return true // no mistake, but the connection is closed at once as well
	case c.state != "left" && s.from != "" && s.from != sender:
		return true
	}
	return strings.Contains(c.meaning, "**error**")
}
