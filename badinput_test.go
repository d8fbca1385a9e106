package lahja_test

import (
	"context"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/lahja-go/lahja"
	"github.com/lahja-go/lahja/internal/wire"
)

// Names that cannot be: each is refused with an error that says which and why, and the bus goes on.
func TestImpossibleNames(t *testing.T) {
	long := strings.Repeat("n", 256)
	everywhereOnce(t, []behaviour{{"each is refused", func(s *stage) {
		s.connect("taken")
		for _, c := range []struct {
			name  string
			code  error
			words string
		}{
			{"", lahja.ErrDenied, "is empty"},
			{long, lahja.ErrDenied, "has 256 bytes, where 255 are allowed"},
			{"a\nb", lahja.ErrDenied, `control character: "a\nb"`},
			{"a\xffb", lahja.ErrDenied, `not valid UTF-8: "a\xffb"`},
			{"taken", lahja.ErrNameTaken, `"taken" is attached already`},
		} {
			_, err := s.attach(c.name)
			s.wantErr(err, c.code)
			if !strings.Contains(err.Error(), c.words) {
				s.Errorf("the error %q does not say %q", err, c.words)
			}
			if strings.Contains(err.Error(), "lahja: lahja: ") {
				s.Errorf("the error %q says twice whose it is", err)
			}
		}
		s.connect(long[:255])
	}}})
}

// unsendable has a value that CBOR cannot carry: it refers to itself.
type unsendable struct{ Next *unsendable }

// Events that cannot be sent: each is an error, nobody gets anything, and the next goes through.
func TestImpossibleEvents(t *testing.T) {
	everywhereInPairs(t, []behaviour{{"each is refused", func(s *stage) {
		a, b := s.pair()
		loads, circles := lahja.Stream[load](s.ctx, b), lahja.Stream[unsendable](s.ctx, b)
		if s.place != nil {
			err := lahja.Broadcast(s.ctx, a, load{Data: make([]byte, 1<<20)})
			s.wantErr(err, lahja.ErrTooLarge)
			circle := unsendable{&unsendable{}}
			circle.Next.Next = circle.Next
			if err := lahja.Broadcast(s.ctx, a, circle); err == nil {
				s.Error("an event that refers to itself was sent")
			}
		}
		if err := lahja.Broadcast(s.ctx, a, struct{ F func() }{}); err == nil ||
			!strings.Contains(err.Error(), "cannot be an event") {
			s.Errorf("an unnamed type was not refused: %v", err)
		}
		say(s, a, load{N: 7})
		if ev := take(s, loads); ev.Value.N != 7 {
			s.Errorf("event %d has come, where 7 was due", ev.Value.N)
		}
		say(s, a, unsendable{})
		take(s, circles)
	}}})
}

// A peer that speaks something else, or another version: only its connection ends.
func TestStrangers(t *testing.T) {
	hello := func(h wire.Hello) []byte {
		record := wire.AppendControl(make([]byte, wire.HeaderSize), wire.TypeHello, h)
		wire.PutHeader(record, record[wire.HeaderSize:], 0)
		return append([]byte(wire.Preface), record...)
	}
	strangers := map[string][]byte{
		"a browser":       []byte("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"),
		"TLS":             {0x16, 3, 1, 0, 200, 1, 0, 0, 196, 3, 3},
		"another version": hello(wire.Hello{MinVersion: 2, MaxVersion: 3, Name: "x"}),
		"no handshake":    append([]byte(wire.Preface), make([]byte, 40)...),
		"nothing":         nil,
	}
	everywhereOnce(t, []behaviour{{"each ends alone", func(s *stage) {
		if s.place == nil {
			s.Skip("there is no connection")
		}
		a, b := s.connect("a"), s.connect("b")
		items := lahja.Stream[item](s.ctx, b)
		for name, says := range strangers {
			c, err := s.place.Dial(s.ctx)
			s.must(err)
			if len(says) > 0 {
				_, err = c.Write(says)
				s.must(err)
				answer, _ := io.ReadAll(c) // until the bus has closed it
				if name == "another version" && !strings.Contains(string(answer),
					"versions 2 to 3") {
					s.Errorf("the bus does not say what is wrong: %q", answer)
				}
			}
			c.Close()
			say(s, a, item{len(name)})
			hear(s, items, item{len(name)})
		}
	}}})
}

// A closed endpoint: every call fails with an error that names it.
func TestClosedEndpoint(t *testing.T) {
	everywhereOnce(t, []behaviour{{"every call fails", func(s *stage) {
		ep := s.connect("gone")
		s.must(ep.Close())
		ctx := context.Background()
		calls := map[string]func() error{
			"Broadcast": func() error { return lahja.Broadcast(ctx, ep, item{}) },
			"Request": func() error {
				_, err := lahja.Request[item, item](ctx, ep, item{})
				return err
			},
			"Subscribe": func() error {
				_, err := lahja.Subscribe(ctx, ep, func(context.Context, lahja.Event[item]) {})
				return err
			},
			"WaitFor":   func() error { _, err := lahja.WaitFor[item](ctx, ep); return err },
			"Forget":    func() error { return lahja.Forget[item](ctx, ep, "") },
			"Peers":     func() error { _, err := ep.Peers(ctx); return err },
			"WaitUntil": func() error { return ep.WaitUntil(ctx, lahja.Present("x")) },
		}
		for name, call := range calls {
			err := call()
			s.wantErr(err, lahja.ErrClosed)
			if !strings.Contains(fmt.Sprint(err), `"gone"`) {
				s.Errorf("%s does not say which endpoint: %v", name, err)
			}
		}
		takeEnd(s, lahja.Stream[item](ctx, ep))
	}}})
}
