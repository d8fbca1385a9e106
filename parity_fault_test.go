package lahja_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/lahja-go/lahja"
)

// The faults of Python's lahja that no other test is of.
func TestParityFaults(t *testing.T) {
	everywhereInPairs(t, []behaviour{
		{"L7 one who does not read delays nobody", (*stage).slowDelaysNobody},
		{"L9 a stream has what was broadcast before it is read", (*stage).streamIsEager},
		{"L10 an answer to an endpoint's predecessor is nobody's", (*stage).predecessorsAnswer},
		{"L13 names are any text that can be shown", (*stage).anyName},
		{"L14 both sides need the same name, not the same type", (*stage).sameNameOtherType},
	})
	everywhereOnce(t, []behaviour{
		{"L11 what is too large is an error of the call", (*stage).tooLarge},
		{"L11 L12 a connection that talks nonsense ends alone", (*stage).nonsense},
		{"L12 who connects to something else than a bus is told", (*stage).notABus},
		{"L12 endpoints that come and go leave nothing behind", (*stage).comeAndGo},
		{"L13 what cannot be a name is refused with a reason", (*stage).noName},
	})
}

func (s *stage) slowDelaysNobody() {
	a, b := s.pair()
	c := s.connect("c")
	unread := lahja.Stream[item](s.ctx, c)
	stuck := make(chan struct{})
	defer close(stuck)
	onItem(s, c, func(context.Context, int) { <-stuck })
	items, others := lahja.Stream[item](s.ctx, b), lahja.Stream[other](s.ctx, c)
	for i := range 500 {
		say(s, a, item{i})
		hear(s, items, item{i})
	}
	say(s, a, other{1}) // to the one who does not read the rest
	hear(s, others, other{1})
	answerWith(s, c, double)
	s.wantAnswer(a, 1, 2)
	for i := range 500 {
		hear(s, unread, item{i})
	}
}

func (s *stage) streamIsEager() {
	a, b := s.pair()
	items := lahja.Stream[item](s.ctx, b)
	events := lahja.Events[item](s.ctx, b, lahja.Take(50))
	for i := range 50 {
		say(s, a, item{i})
	}
	for i := range 50 {
		hear(s, items, item{i})
	}
	n := 0
	for ev, err := range events {
		if s.must(err); ev.Value.N != n {
			s.Fatalf("%+v is number %d", ev, n)
		}
		n++
	}
	if n != 50 {
		s.Fatalf("%d events came", n)
	}
}

func (s *stage) predecessorsAnswer() {
	attach := func(i int, name string) *lahja.Endpoint {
		if s.pairs[i] {
			return s.connect(name)
		}
		return s.own(name)
	}
	questions := lahja.Stream[question](s.ctx, attach(1, "b"))
	predecessor := attach(0, "a")
	asked := beside(s, func() error {
		_, err := request(s, predecessor, 1)
		return err
	})
	late := take(s, questions)
	s.must(predecessor.Close())
	s.wantErr(take(s, asked), lahja.ErrClosed)
	successor := attach(0, "a")
	answered := beside(s, func() answer {
		got, err := request(s, successor, 2)
		if err != nil {
			s.Error(err)
		}
		return got
	})
	current := take(s, questions)
	if err := lahja.Reply(s.ctx, late, answer{-1}); err != nil || !s.pairs[1] {
		s.wantErr(err, lahja.ErrUnexpectedResponse) // elsewhere the end may still be on its way
	}
	s.must(lahja.Reply(s.ctx, current, answer{2}))
	if got := take(s, answered); got.N != 2 {
		s.Fatalf("%+v has come, the answer to another", got)
	}
}

func (s *stage) anyName() {
	a, _ := s.pair()
	for _, name := range []string{"ä", "узел", "节点", "🐍", "a b", strings.Repeat("n", 255)} {
		ep := s.connect(name)
		items := lahja.Stream[item](s.ctx, ep)
		s.until(a, lahja.SubscribedBy[item](name))
		say(s, a, item{1}, lahja.To(name))
		hear(s, items, item{1})
		own := lahja.Stream[item](s.ctx, a, lahja.From(name))
		say(s, ep, item{2})
		if ev := hear(s, own, item{2}); ev.Origin != name {
			s.Fatalf("its origin is %q", ev.Origin)
		}
	}
}

func (s *stage) noName() {
	for name, reason := range map[string]string{
		"":                       "empty",
		"a\nb":                   "control character",
		"a\xffb":                 "UTF-8",
		strings.Repeat("n", 256): "256 bytes",
	} {
		_, err := s.attach(name)
		if !errors.Is(err, lahja.ErrDenied) || !strings.Contains(err.Error(), reason) {
			s.Errorf("the name %.20q: %v", name, err)
		}
	}
}

// What one side has of an event, and what the other side has.
type (
	full struct {
		N     int
		Extra string
	}
	part struct{ N int }
)

func (full) EventName() string { return "parity.shared" }
func (part) EventName() string { return "parity.shared" }

func (s *stage) sameNameOtherType() {
	a, b := s.pair()
	parts, fulls := lahja.Stream[part](s.ctx, b), lahja.Stream[full](s.ctx, b)
	s.until(a, lahja.SubscribedBy[full]("b"))
	say(s, a, full{1, "more"})
	hear(s, parts, part{1})
	hear(s, fulls, full{1, "more"})
	say(s, a, part{2})
	hear(s, parts, part{2})
	hear(s, fulls, full{2, ""})
}

func (s *stage) tooLarge() {
	if s.place == nil {
		s.Skip("nothing is encoded")
	}
	a, b := s.connect("a"), s.own("b")
	huge := blob{strings.Repeat("x", 2<<20)}
	blobs := lahja.Stream[blob](s.ctx, b)
	s.wantErr(lahja.Broadcast(s.ctx, a, huge), lahja.ErrTooLarge)
	_, err := lahja.Request[blob, answer](s.ctx, a, huge)
	s.wantErr(err, lahja.ErrTooLarge)
	say(s, a, blob{"small"}) // as if nothing had been
	hear(s, blobs, blob{"small"})

	_, err = lahja.Handle(s.ctx, b, func(context.Context, lahja.Event[question]) (blob, error) {
		return huge, nil
	})
	s.must(err)
	_, err = lahja.Request[question, blob](s.ctx, a, question{1})
	var remote *lahja.RemoteError
	if s.wantErr(err, lahja.ErrTooLarge); !errors.As(err, &remote) || remote.Endpoint != "b" {
		s.Fatalf("%#v", err)
	}
	say(s, a, blob{"small"})
	hear(s, blobs, blob{"small"})
}

func (s *stage) nonsense() {
	if s.place == nil {
		s.Skip("there is no connection")
	}
	main, worker := s.own("main"), s.connect("worker")
	items := lahja.Stream[item](s.ctx, worker)
	for _, bytes := range []string{
		"GET / HTTP/1.1\r\n\r\n",
		strings.Repeat("\xff", 64), // also as a length
		strings.Repeat("\x00", 64),
		"",
	} {
		c, err := s.place.Dial(s.ctx)
		s.must(err)
		ended := beside(s, func() error {
			_, err := io.Copy(io.Discard, c)
			return err
		})
		_, err = c.Write([]byte(bytes))
		if err != nil {
			s.Logf("writing %q: %v", bytes, err)
		}
		if bytes == "" {
			c.Close() // says nothing at all
		}
		take(s, ended) // the bus has closed it
		c.Close()
		say(s, main, item{1})
		hear(s, items, item{1})
	}
	peers, err := main.Peers(s.ctx)
	if s.must(err); len(peers) != 2 {
		s.Fatalf("it sees %v", peers)
	}
}

func (s *stage) notABus() {
	if s.place == nil {
		s.Skip("there is no connection")
	}
	l, place, err := s.venue.listen(s)
	s.must(err)
	defer l.Close()
	for _, bytes := range []string{"SSH-2.0-OpenSSH_9.9\r\n", strings.Repeat("\xff", 64), ""} {
		s.group.Go(func() {
			c, err := l.Accept()
			if err != nil {
				s.Error(err)
				return
			}
			defer c.Close()
			if bytes != "" {
				_, _ = c.Write([]byte(bytes))
				_, _ = io.Copy(io.Discard, c) // until the other side has enough
			}
		})
		_, err := lahja.Connect(s.ctx, "worker", place)
		if err == nil || bytes != "" && !errors.Is(err, lahja.ErrProtocol) {
			s.Fatalf("of %q it thinks: %v", bytes, err)
		}
	}
}

func (s *stage) comeAndGo() {
	main := s.own("main")
	items := lahja.Stream[item](s.ctx, main)
	for i := range 60 {
		ep := s.connect(fmt.Sprint("worker", i%3))
		_ = lahja.Stream[item](s.ctx, ep)
		say(s, ep, item{i}, lahja.Retain())
		hear(s, items, item{i})
		s.must(ep.Close())
		s.until(main, not(lahja.Present(ep.Name())))
	}
	peers, err := main.Peers(s.ctx)
	if s.must(err); len(peers) != 1 {
		s.Fatalf("it sees %v", peers)
	}
	say(s, main, item{100})
	kept := lahja.Stream[item](s.ctx, main, lahja.WithRetained())
	say(s, main, item{101})
	hear(s, kept, item{101})
}

// Each behaviour and fault that docs/migrating.md numbers has a test of that number, or a reason
// why it has none.
func TestParityNumbers(t *testing.T) {
	doc, err := os.ReadFile("docs/migrating.md")
	if err != nil {
		t.Fatal(err)
	}
	reasons, list, found := strings.Cut(string(doc), "## Appendix")
	_, reasons, hasReasons := strings.Cut(reasons, "## What has no counterpart")
	if !found || !hasReasons {
		t.Fatal("docs/migrating.md has another order")
	}
	has := map[string]bool{}
	files, err := filepath.Glob("parity_*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	for number, file := range map[string]string{"P64": "request", "P65": "pingpong"} {
		text, err := os.ReadFile(filepath.Join("examples", file, "main_test.go"))
		has[number] = err == nil && strings.Contains(string(text), "// "+number+": ")
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		numbered := regexp.MustCompile(`\{"((?:[PL]\d+ )+)`)
		for _, name := range numbered.FindAllStringSubmatch(string(text), -1) {
			for _, number := range strings.Fields(name[1]) {
				has[number] = true
			}
		}
	}
	number := regexp.MustCompile(`\b[PL]\d+\b`)
	for _, n := range number.FindAllString(reasons, -1) {
		has[n] = true
	}
	has["P59"] = has["P58"] && has["P60"] // of a row "P58 to P60"
	for _, n := range number.FindAllString(list, -1) {
		if !has[n] {
			t.Errorf("%s has neither a test nor a reason", n)
		}
	}
}
