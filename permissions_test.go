package lahja_test

import (
	"context"
	"errors"
	"io"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lahja-go/lahja"
	"github.com/lahja-go/lahja/internal/wire"
	"github.com/lahja-go/lahja/transports/memory"
)

// allowing is a bus that allows the endpoint "limited" so much, and all others everything.
func allowing(p lahja.Permissions) lahja.BusOption {
	return lahja.Authorize(func(_ context.Context, name string, _ lahja.Identity) (
		lahja.Permissions, error,
	) {
		if name == "limited" {
			return p, nil
		}
		return lahja.AllowAll(), nil
	})
}

// elsewhere runs test at each venue with a transport.
func elsewhere(t *testing.T, test func(t *testing.T, v *venue)) {
	for _, v := range venues[1:] {
		t.Run(v.name, func(t *testing.T) { test(t, &v) })
	}
}

// The zero value of Permissions allows nothing but to be there.
func TestNothingIsAllowed(t *testing.T) {
	elsewhere(t, func(t *testing.T, v *venue) {
		s := newStage(t, v, [2]bool{}, allowing(lahja.Permissions{}))
		own, ep := s.own("own"), s.connect("limited")
		all := lahja.Stream[item](s.ctx, own)
		for name, call := range map[string]func() error{
			"Broadcast": func() error { return lahja.Broadcast(s.ctx, ep, item{}) },
			"To": func() error {
				return lahja.Broadcast(s.ctx, ep, item{}, lahja.To("own"))
			},
			"Retain": func() error { return lahja.Broadcast(s.ctx, ep, item{}, lahja.Retain()) },
			"NoWait": func() error { return lahja.Broadcast(s.ctx, ep, item{}, lahja.NoWait()) },
			"RequireSubscriber": func() error {
				return lahja.Broadcast(s.ctx, ep, item{}, lahja.RequireSubscriber())
			},
			"Forget": func() error { return lahja.Forget[item](s.ctx, ep, "") },
			"Request": func() error {
				_, err := lahja.Request[item, item](s.ctx, ep, item{})
				return err
			},
			"WaitFor": func() error { _, err := lahja.WaitFor[item](s.ctx, ep); return err },
			"Group": func() error {
				_, err := lahja.WaitFor[item](s.ctx, ep, lahja.Group("g"))
				return err
			},
			"Handle": func() error {
				_, err := lahja.Handle(s.ctx, ep,
					func(context.Context, lahja.Event[item]) (item, error) { return item{}, nil })
				return err
			},
		} {
			if err := call(); !errors.Is(err, lahja.ErrDenied) ||
				!strings.Contains(err.Error(), `"limited" may not`) {
				t.Errorf("%s: %v", name, err)
			}
		}
		for _, err := range lahja.Gather[item, item](s.ctx, ep, item{}) {
			s.wantErr(err, lahja.ErrDenied)
		}
		if peers, err := ep.Peers(s.ctx); err != nil || len(peers) != 2 {
			t.Errorf("it sees %v, %v", peers, err)
		}
		say(s, ep, item{9}, lahja.Internal()) // it never leaves the endpoint
		say(s, own, item{1})
		hear(s, all, item{1})
	})
}

// Who may subscribe, and not handle, observes requests: it does not count, and cannot answer.
func TestSubscribeIsNotHandle(t *testing.T) {
	elsewhere(t, func(t *testing.T, v *venue) {
		s := newStage(t, v, [2]bool{}, allowing(lahja.Permissions{
			Subscribe: []string{lahja.EventName[question]()},
		}))
		own, ep := s.own("own"), s.connect("limited")
		ways := map[string][]lahja.SubscribeOption{
			"plain": nil, "drop": {lahja.DropOldest()}, "retained": {lahja.WithRetained()},
		}
		for name, opts := range ways {
			ctx, cancel := context.WithCancel(s.ctx)
			asked := lahja.Stream[question](ctx, ep, opts...)
			_, err := lahja.Request[question, answer](s.ctx, own, question{1})
			s.wantErr(err, lahja.ErrNoSubscribers)
			ev := take(s, asked)
			if err := lahja.Reply(s.ctx, ev, answer{}); !errors.Is(err, lahja.ErrDenied) {
				t.Errorf("%s: its answer is met with %v", name, err)
			}
			if err := lahja.Fail(s.ctx, ev, io.EOF); !errors.Is(err, lahja.ErrDenied) {
				t.Errorf("%s: its refusal is met with %v", name, err)
			}
			cancel()
		}
		grouped := lahja.Stream[question](s.ctx, ep, lahja.Group("g"))
		_, err := lahja.Request[question, answer](s.ctx, own, question{1})
		s.wantErr(err, lahja.ErrNoSubscribers)
		say(s, own, question{2})
		hear(s, grouped, question{2})
	})
}

// deceived is a transport whose endpoints are not told their permissions.
type deceived struct{ lahja.Transport }

func (t deceived) Dial(ctx context.Context) (lahja.Conn, error) {
	c, err := t.Transport.Dial(ctx)
	return &deceivedConn{Conn: c}, err
}

// deceivedConn takes the permissions out of the Welcome.
type deceivedConn struct {
	lahja.Conn
	first []byte // what is left of the answer
	read  bool
}

func (c *deceivedConn) Read(p []byte) (int, error) {
	if !c.read {
		c.read = true
		answer := make([]byte, len(wire.Preface)+wire.HeaderSize)
		if _, err := io.ReadFull(c.Conn, answer); err != nil {
			return 0, err
		}
		h, err := wire.ParseHeader(answer[len(wire.Preface):], wire.MaxHandshake)
		body := make([]byte, h.Length)
		if _, failed := io.ReadFull(c.Conn, body); err != nil || failed != nil {
			return 0, errors.Join(err, failed)
		}
		c.first = append(answer, body...)
		var w wire.Welcome
		f, _, err := wire.Next(body, wire.MaxHandshake)
		if err == nil && f.Type == wire.TypeWelcome &&
			wire.ParseControl(f.Body, &w) == nil {
			w.Permissions = nil
			record := wire.AppendControl(make([]byte, wire.HeaderSize), wire.TypeWelcome, w)
			wire.PutHeader(record, record[wire.HeaderSize:], 0)
			c.first = append([]byte(wire.Preface), record...)
		}
	}
	if len(c.first) > 0 {
		n := copy(p, c.first)
		c.first = c.first[n:]
		return n, nil
	}
	return c.Conn.Read(p)
}

// The bus relies on nobody: an endpoint that sends what it may not is ended with ErrDenied.
func TestPermissionsAreEnforced(t *testing.T) {
	elsewhere(t, func(t *testing.T, v *venue) {
		s := newStage(t, v, [2]bool{}, allowing(lahja.Permissions{}))
		own := s.own("own")
		all := lahja.Stream[item](s.ctx, own)
		for name, send := range map[string]func(*lahja.Endpoint) error{
			"Broadcast": func(ep *lahja.Endpoint) error {
				return lahja.Broadcast(s.ctx, ep, item{})
			},
			"Retain": func(ep *lahja.Endpoint) error {
				return lahja.Broadcast(s.ctx, ep, item{}, lahja.Retain())
			},
			"Forget": func(ep *lahja.Endpoint) error { return lahja.Forget[item](s.ctx, ep, "") },
			"Request": func(ep *lahja.Endpoint) error {
				if _, err := lahja.Request[item, item](s.ctx, ep, item{}); err == nil {
					t.Error("the request was answered")
				}
				return nil
			},
			"Ask": func(ep *lahja.Endpoint) error {
				if lahja.Broadcast(s.ctx, ep, item{}, lahja.RequireSubscriber()) == nil {
					t.Error("the bus answers what it may not")
				}
				return nil
			},
		} {
			ep, err := lahja.Connect(s.ctx, "limited", deceived{s.place})
			s.must(err)
			s.must(send(ep))
			<-ep.Done()
			if err := ep.Err(); !errors.Is(err, lahja.ErrDenied) ||
				!strings.Contains(err.Error(), `"limited" may not`) {
				t.Errorf("%s: it ends with %v", name, err)
			} else if (name == "Ask") != strings.Contains(err.Error(), "broadcast or request") {
				t.Errorf("%s: it is told %v", name, err)
			}
			s.until(own, not(lahja.Present("limited")))
		}
		ep, err := lahja.Connect(s.ctx, "limited", deceived{s.place})
		s.must(err)
		defer ep.Close()
		for _, opts := range [][]lahja.SubscribeOption{
			nil, {lahja.Group("g")}, {lahja.WithRetained()},
		} {
			_, err := lahja.WaitFor[item](s.ctx, ep, opts...)
			s.wantErr(err, lahja.ErrDenied)
		}
		say(s, own, item{1})
		hear(s, all, item{1})
	})
}

// An Authorize that fails, panics, or does not answer in time refuses; the endpoint is not told
// why.
func TestAuthorizeFails(t *testing.T) {
	const secret = "it is in the database"
	for name, f := range map[string]func(context.Context) (lahja.Permissions, error){
		"fails": func(context.Context) (lahja.Permissions, error) {
			return lahja.AllowAll(), errors.New(secret)
		},
		"panics": func(context.Context) (lahja.Permissions, error) { panic(secret) },
		"waits": func(ctx context.Context) (lahja.Permissions, error) {
			<-ctx.Done()
			return lahja.AllowAll(), ctx.Err()
		},
		"hangs": func(context.Context) (lahja.Permissions, error) {
			time.Sleep(time.Hour)
			return lahja.AllowAll(), nil
		},
		"exits": func(context.Context) (lahja.Permissions, error) {
			runtime.Goexit()
			panic("unreachable")
		},
		"says too much": func(context.Context) (lahja.Permissions, error) { return tooMuch(), nil },
		"says no text": func(context.Context) (lahja.Permissions, error) {
			return lahja.Permissions{Handle: []string{"\xff"}}, nil
		},
		"says no text's start": func(context.Context) (lahja.Permissions, error) {
			return lahja.Permissions{Handle: []string{"\xff*"}}, nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			log := (&stage{TB: t}).captureLog()
			synctest.Test(t, func(t *testing.T) {
				bus := lahja.NewBus(lahja.Authorize(
					func(
						ctx context.Context, _ string, _ lahja.Identity,
					) (lahja.Permissions, error) {
						return f(ctx)
					}))
				defer bus.Close()
				place := memory.New()
				l, err := place.Listen(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				served := make(chan error, 1)
				go func() {
					c, err := l.Accept()
					if err == nil {
						err = bus.ServeConn(t.Context(), c)
					}
					served <- err
				}()
				_, err = lahja.Connect(t.Context(), "x", place)
				if !errors.Is(err, lahja.ErrDenied) || strings.Contains(err.Error(), secret) {
					t.Errorf("it is refused with %v", err)
				}
				if err := <-served; !errors.Is(err, lahja.ErrDenied) {
					t.Errorf("the bus says %v", err)
				} else if name == "fails" && !strings.Contains(err.Error(), secret) {
					t.Errorf("the bus does not say why: %v", err)
				}
				l.Close()
				time.Sleep(2 * time.Hour) // until what hangs has returned
			})
			if name == "panics" && !strings.Contains(log.String(), "TestAuthorizeFails") {
				t.Errorf("the log has no stack: %s", log.String())
			}
		})
	}
}

func tooMuch() (p lahja.Permissions) {
	for range 100 {
		p.Handle = append(p.Handle, strings.Repeat("n", 50))
	}
	return p
}

// Close does not wait for an Authorize that does not return, and who waits is told that the bus
// has closed.
func TestCloseDuringAuthorize(t *testing.T) {
	entered, release := make(chan bool, 1), make(chan bool)
	defer close(release)
	bus := lahja.NewBus(lahja.Authorize(
		func(context.Context, string, lahja.Identity) (lahja.Permissions, error) {
			entered <- true
			<-release
			return lahja.AllowAll(), nil
		}))
	place := memory.New()
	go bus.Serve(t.Context(), place)
	refused := make(chan error)
	go func() {
		for {
			_, err := lahja.Connect(t.Context(), "x", place)
			if err == nil || errors.Is(err, lahja.ErrClosed) || errors.Is(err, lahja.ErrDenied) {
				refused <- err
				return
			}
		}
	}()
	<-entered
	began := time.Now()
	bus.Close()
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("Close took %v", took)
	}
	if err := <-refused; !errors.Is(err, lahja.ErrClosed) {
		t.Errorf("who waits is told %v", err)
	}
}

// A resume asks again: who has lost a permission begins a new session with what is left; who is no
// longer let in ends; what is allowed in addition counts from the next session on.
func TestAuthorizeAtResume(t *testing.T) {
	items, others := lahja.EventName[item](), lahja.EventName[other]()
	for name, c := range map[string]struct {
		then                    lahja.Permissions
		err                     error
		resumes, restarts       uint64
		itemAllowed, otherAfter bool
	}{
		"the same": {lahja.Permissions{Broadcast: []string{items}}, nil, 1, 0, true, false},
		"more":     {lahja.AllowAll(), nil, 1, 0, true, false},
		"other":    {lahja.Permissions{Broadcast: []string{others}}, nil, 0, 1, false, true},
		"none":     {lahja.Permissions{}, errors.New("no"), 0, 0, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			var calls atomic.Int32
			s := newStage(t, &venues[1], [2]bool{}, lahja.Authorize(
				func(context.Context, string, lahja.Identity) (lahja.Permissions, error) {
					if calls.Add(1) == 1 {
						return lahja.Permissions{Broadcast: []string{items}}, nil
					}
					return c.then, c.err
				}))
			own, ep := s.own("own"), s.connect("limited")
			kept := lahja.Stream[item](s.ctx, own, lahja.WithRetained())
			say(s, ep, item{1}, lahja.Retain())
			hear(s, kept, item{1})
			s.wires.cutLast()
			if c.err != nil {
				<-ep.Done()
				s.wantErr(ep.Err(), lahja.ErrDenied)
				return
			}
			for st := range ep.WatchState(s.ctx) {
				if st.Connected && st.Resumes == c.resumes && st.Restarts == c.restarts {
					break
				}
			}
			if !c.itemAllowed {
				s.wantErr(lahja.Broadcast(s.ctx, ep, item{2}), lahja.ErrDenied)
				if ev := take(s, kept); !ev.Gone {
					t.Errorf("%+v has come, where the end of what was kept was due", ev)
				}
			} else {
				say(s, ep, item{2})
				hear(s, kept, item{2})
			}
			err := lahja.Broadcast(s.ctx, ep, other{})
			if denied := errors.Is(err, lahja.ErrDenied); denied == c.otherAfter {
				t.Errorf("the other event is met with %v", err)
			}
		})
	}
}
