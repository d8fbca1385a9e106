package lahja_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"pgregory.net/rapid"

	"github.com/lahja-go/lahja"
	"github.com/lahja-go/lahja/transports/memory"
	"github.com/lahja-go/lahja/transports/pipe"
	"github.com/lahja-go/lahja/transports/tcp"
	"github.com/lahja-go/lahja/transports/unix"
)

// place is where the endpoints of a case are: all in the bus's process, or some of them behind a
// transport.
type place struct {
	name   string
	bubble bool // it needs no operating system, and can run in a bubble of time

	options []lahja.BusOption // of its bus
	listen  func(ctx context.Context, dir string) (lahja.Listener, lahja.Transport, error)
}

var places = []place{
	{name: "in-process", bubble: true},
	{name: "memory", bubble: true, listen: func(
		ctx context.Context, _ string,
	) (lahja.Listener, lahja.Transport, error) {
		t := memory.New()
		l, err := t.Listen(ctx)
		return l, t, err
	}},
	{name: "pipe", listen: func(
		ctx context.Context, _ string,
	) (lahja.Listener, lahja.Transport, error) {
		t := pipe.Loopback()
		l, err := t.Listen(ctx)
		return l, t, err
	}},
	{name: "unix", listen: func(
		ctx context.Context, dir string,
	) (lahja.Listener, lahja.Transport, error) {
		t := unix.New(filepath.Join(dir, fmt.Sprint(sockets.Add(1))))
		l, err := t.Listen(ctx)
		return l, t, err
	}},
	{name: "tcp", listen: func(
		ctx context.Context, _ string,
	) (lahja.Listener, lahja.Transport, error) {
		l, err := tcp.New("127.0.0.1:0").Listen(ctx)
		if err != nil {
			return nil, nil, err
		}
		return l, tcp.New(l.Addr()), nil
	}},
}

var sockets atomic.Int64

// open makes a bus, and listens.
func (p *place) open(ctx context.Context, dir string, s *script) (*world, error) {
	w := newWorld(ctx, lahja.NewBus(append(p.options, lahja.Limits{Lag: s.Lag})...), s)
	if p.listen == nil {
		return w, nil
	}
	l, t, err := p.listen(ctx, dir)
	if err != nil {
		return nil, err
	}
	w.place, w.listener = t, l
	w.group.Go(func() { w.serve(l) })
	return w, nil
}

// run runs a script on a bus of its own.
func (p *place) run(dir string, s *script, tamper func(*sub, arrival) []arrival) (*history, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	w, err := p.open(ctx, dir, s)
	if err != nil {
		return nil, err
	}
	if tamper != nil {
		w.tamper = tamper
	}
	defer w.close()
	return w.run(s)
}

// sharedDir returns a directory for sockets, whose path is short enough for them.
func sharedDir(t *testing.T) string {
	dir, err := os.MkdirTemp("", "lahja")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// everywhere checks a property at each place.
func everywhere(t *testing.T, prop func(*rapid.T, *place, string)) {
	for _, p := range places {
		t.Run(p.name, func(t *testing.T) {
			dir := sharedDir(t)
			rapid.Check(t, func(t *rapid.T) {
				if p.bubble {
					rapid.SyncTest(t, func(t *rapid.T) { prop(t, &p, dir) })
				} else {
					prop(t, &p, dir)
				}
			})
		})
	}
}

// Delivery, Order, Routing, Identity and Endings: whatever is called, one after the other or at
// the same time, each subscription gets exactly the events that are for it, each once and in
// order, with the name of who broadcast them, a request gets one answer of one who was asked, and
// all that has ended says why.
func TestPropertyPromises(t *testing.T) {
	everywhere(t, func(t *rapid.T, p *place, dir string) {
		s := scripts(false).Draw(t, "script")
		for range 3 { // which the scheduler makes different
			if _, err := p.run(dir, &s, nil); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// One semantics: the same script, one act after the other, shows the same on every transport: what
// arrived where, what each call returned, and why each subscription ended.
func TestPropertyOneSemantics(t *testing.T) {
	dir := sharedDir(t)
	rapid.Check(t, func(t *rapid.T) {
		s := scripts(true).Draw(t, "script").apart()
		var first []string
		for i := range places {
			h, err := places[i].run(dir, &s, nil)
			if err != nil {
				t.Fatalf("%s: %v", places[i].name, err)
			}
			seen := h.observation()
			if i == 0 {
				first = seen
			}
			for j := range first {
				if j >= len(seen) || seen[j] != first[j] {
					t.Fatalf("%s shows\n%s\nand %s\n%s", places[0].name, first[j], places[i].name,
						strings.Join(seen[min(j, len(seen)):], "\n"))
				}
			}
		}
	})
}

// observation is what the users of a bus have seen, where only one thing can be seen.
func (h *history) observation() (seen []string) {
	for _, b := range h.sents {
		line := fmt.Sprintf("%d by %s: %v", b.n, b.life.name, class(b.err))
		if b.color == queryColor && b.err == nil || errors.Is(b.err, errRefused) {
			line = fmt.Sprintf("%d by %s: answered", b.n, b.life.name)
			if may, _ := h.recipients(b); len(may) == 1 {
				line += fmt.Sprintf(": %+v %v", b.answer, class(b.err))
			}
		}
		seen = append(seen, line)
	}
	for _, s := range h.subs {
		line := fmt.Sprintf("%d of %s:", s.id, s.life.name)
		for _, a := range s.got {
			if s.plan.Color != queryColor {
				line += fmt.Sprintf(" %s:%d", a.Origin, a.Note.N)
			}
		}
		for _, reason := range s.reasons {
			line += fmt.Sprintf(" ended: %v", class(reason))
		}
		seen = append(seen, line)
	}
	return seen
}

// class is what is compared of an error.
func class(err error) error {
	var code lahja.Code
	if errors.As(err, &code) {
		return code
	}
	return err
}
