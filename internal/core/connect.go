package core

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/lahja-go/lahja/internal/fault"
	"github.com/lahja-go/lahja/internal/session"
	"github.com/lahja-go/lahja/internal/wire"
)

// Dial makes a connection to a bus.
type Dial func(context.Context) (Conn, error)

// Connect attaches an endpoint to the bus that dial leads to. With redials a connection that breaks
// is made anew.
func Connect(
	ctx context.Context, name string, cfg Config, dial Dial, redials bool,
) (*Endpoint, error) {
	if err := CheckName("an endpoint", name); err != nil {
		return nil, err
	}
	n := NewNode(cfg)
	n.line = &line{dial: dial, redials: redials}
	conn, welcome, err := n.greet(ctx, n.introduction(name))
	if err != nil {
		return nil, fmt.Errorf("lahja: attaching endpoint %q: %w", name, err)
	}
	p, err := n.newSession(welcome)
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("lahja: attaching endpoint %q: %w", name, err)
	}
	n.line.current.Store(p)
	ep, err := n.Attach(name)
	if err != nil {
		conn.Close()
		return nil, err
	}
	n.self = ep.party
	n.line.change(func(s *State) { s.Connected = true })
	n.tasks.start(func() { n.keep(ep, p, conn) })
	return ep, nil
}

// introduction is how an endpoint asks for a session.
func (n *Node) introduction(name string) *wire.Hello {
	hello := &wire.Hello{
		MinVersion: wire.Version, MaxVersion: wire.Version, Name: name, Incarnation: n.incarnation,
		MaxFrame: uint64(n.config().MaxFrame),
	}
	if n.line.redials {
		hello.Features = []string{resumable}
	}
	return hello
}

// greet makes a connection and does the endpoint's side of the handshake.
func (n *Node) greet(ctx context.Context, hello *wire.Hello) (Conn, *wire.Welcome, error) {
	conn, err := n.line.dial(ctx)
	if err != nil {
		return nil, nil, fault.Because(ctx, err)
	}
	release := session.Bound(ctx, conn, n.config().Handshake)
	welcome, err := session.Greet(conn, hello)
	if !release() {
		err = fmt.Errorf("the bus has not answered within %v: %w",
			n.config().Handshake, context.DeadlineExceeded)
	}
	if err != nil {
		conn.Close()
		if ctx.Err() != nil {
			err = fault.Ended(ctx)
		}
		return nil, nil, err
	}
	return conn, welcome, nil
}

// greetAgain is greet with no longer for all of it than a handshake may take: a connection that is
// begun while the network swallows everything is not made soon after it no longer does.
func (n *Node) greetAgain(
	ctx context.Context, hello *wire.Hello,
) (Conn, *wire.Welcome, error) {
	limit := n.config().Handshake
	bounded, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	conn, w, err := n.greet(bounded, hello)
	if err != nil && bounded.Err() != nil && ctx.Err() == nil {
		err = fmt.Errorf("the bus has not answered within %v: %w", limit, err)
	}
	return conn, w, err
}

// maxStated is the largest limit that a bus can state, in milliseconds or bytes.
const maxStated = 1 << 40

func millis(ms uint64) time.Duration { return time.Duration(min(ms, maxStated)) * time.Millisecond }

// newSession makes the peer for a session that the bus has begun.
func (n *Node) newSession(w *wire.Welcome) (*peer, error) {
	allowed, err := parseGrants(w.Permissions)
	if err != nil {
		return nil, err
	}
	cfg := *n.config()
	cfg.MaxFrame, cfg.Lag, cfg.Stall = int(w.MaxFrame), int64(w.Lag), millis(w.Stall)
	cfg.RetainedKeys = int(min(w.RetainedKeys, math.MaxInt32))
	cfg.RetainedType = int64(min(w.RetainedType, maxStated))
	cfg.Retained = int64(min(w.Retained, maxStated))
	n.cfg.Store(cfg.withDefaults())
	opt := session.Options{
		MaxFrame: cfg.MaxFrame, Limit: n.backlogLimit(), Replies: n.config().AnswerBytes,
		Heartbeat: millis(w.Heartbeat), Dials: true,
	}
	if len(w.Session) > 0 && n.line.redials {
		opt.Window = millis(w.ResumeWindow)
	}
	p := n.newPeer(nil, opt)
	p.session, p.token, p.grants = w.Session, w.Token, allowed
	return p, nil
}

// keep carries the endpoint's sessions, one after the other, until it ends.
func (n *Node) keep(ep *Endpoint, p *peer, conn Conn) {
	for p != nil {
		n.stay(p, conn)
		if !p.lost.Load() {
			return
		}
		p, conn = n.startAnew(ep)
	}
}

// stay carries one session over one connection after the other, until it is over.
func (n *Node) stay(p *peer, conn Conn) {
	start := session.Start{}
	var pause backoff
	for conn != nil {
		before := p.link.Progress()
		err := p.link.Carry(conn, start)
		if p.link.Life().Err() != nil {
			break
		}
		if p.link.Progress() != before {
			pause = backoff{} // a connection that brings nothing is not made again without a pause
		}
		err = brokenError("the connection to the bus has broken", err)
		n.line.breaks(p, err)
		conn, start = n.redial(p, start.Attempt, &pause)
	}
	<-p.link.Over() // then it is known what is to follow
}

// redial makes connections until the bus has resumed the session on one; nil: the session is over.
func (n *Node) redial(p *peer, attempt uint64, pause *backoff) (Conn, session.Start) {
	hello := n.introduction(n.self.Name)
	hello.Session, hello.Token = p.session, p.token
	for {
		pause.wait(p.link.Life())
		attempt++
		received, err := p.link.Claim(attempt)
		if err != nil {
			return nil, session.Start{}
		}
		hello.Attempt, hello.Received = attempt, received
		conn, w, err := n.greetAgain(p.link.Life(), hello)
		switch {
		case err == nil && !w.Resumed:
			conn.Close()
			err = fault.Errorf(fault.Protocol,
				"the bus answers the resume of a session with another")
		case err == nil && !p.link.CanResume(w.Received):
			conn.Close()
			p.link.Kill(session.ErrPosition)
			return nil, session.Start{}
		case err == nil:
			n.line.resumed(p)
			return conn, session.Start{Attempt: attempt, Received: w.Received}
		}
		if refused(err, fault.SessionLost) || final(err) {
			p.link.Kill(err)
		}
		n.line.change(func(s *State) { s.Err = err })
	}
}

// refused reports whether the bus itself has given that reason.
func refused(err error, code fault.Code) bool {
	var said *fault.RemoteError
	return errors.As(err, &said) && said.Code == code
}

// final reports whether the bus has said what will not change when it is asked again.
func final(err error) bool {
	return refused(err, fault.Denied) || refused(err, fault.Protocol)
}

// sessionEnded decides what becomes of the endpoint now that its session is over. lost is how many
// events it had accepted that the bus has perhaps not got.
func (n *Node) sessionEnded(p *peer, err error, lost int) {
	ep := n.self.Ref.(*Endpoint)
	p.mu.Lock()
	dismissed := p.dismissed
	p.mu.Unlock()
	if p.link.Parting() && goesOn(err) {
		err = nil // the bus has asked to part, and its own goodbye was lost with the connection
	}
	if dismissed == nil && n.line.redials && goesOn(err) && ep.Err() == nil {
		n.warn("lahja: the session with the bus is lost, and perhaps events",
			"endpoint", ep.name, "events", lost, "error", err)
		n.line.lose(p, linkError("the session is lost", err), lost)
		ep.interrupted()
		return
	}
	n.line.change(func(s *State) { s.Lost += uint64(lost) })
	switch {
	case dismissed != nil: // whatever the connection has met after that
		err = dismissed
	case err != nil:
		err = linkError("the connection to the bus has ended", err)
	default:
		err = fault.Errorf(fault.Closed, "the bus has closed")
	}
	ep.lost(err) // before the requests that wait find that nobody is left who could answer
}

// goesOn reports whether a session that was lost for that reason is followed by another.
func goesOn(err error) bool {
	return errors.Is(err, session.ErrLapsed) || errors.Is(err, session.ErrPosition) ||
		refused(err, fault.SessionLost)
}

// startAnew begins another session for the endpoint; nil: the endpoint has ended.
func (n *Node) startAnew(ep *Endpoint) (*peer, Conn) {
	for pause := (backoff{}); ; {
		pause.wait(n.life)
		if n.life.Err() != nil {
			return nil, nil
		}
		conn, w, err := n.greetAgain(n.life, n.introduction(ep.name))
		var p *peer
		if err == nil {
			if p, err = n.newSession(w); err != nil {
				conn.Close()
			}
		}
		if err == nil {
			n.line.coming.Store(p)
			if n.life.Err() != nil { // perhaps too late for the endpoint's Close to see it
				p.link.Kill(n.life.Err())
			}
			n.tasks.start(func() { n.restore(ep, p) })
			return p, conn
		}
		if final(err) {
			ep.lost(linkError("the connection to the bus has ended", err))
			return nil, nil
		}
		n.line.change(func(s *State) { // who looks only now is to see that the session is lost
			s.Err = fault.Errorf(fault.SessionLost, "no other session: %w", err)
		})
	}
}
