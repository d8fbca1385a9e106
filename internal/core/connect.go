package core

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/lahja-go/lahja/internal/fault"
	"github.com/lahja-go/lahja/internal/router"
	"github.com/lahja-go/lahja/internal/session"
	"github.com/lahja-go/lahja/internal/wire"
)

// Serve attaches the endpoint at the other end of conn and serves it until it closes, the
// connection breaks, or ctx or the Node ends. It closes conn. pinned is the only name that the
// endpoint may have, if it is not empty; attached is called with its name when it is admitted.
func (n *Node) Serve(ctx context.Context, conn Conn, pinned string, attached func(string)) error {
	defer conn.Close()
	n.tasks.add(1, 0)
	defer n.tasks.add(-1, 0)
	p, err := n.admit(ctx, conn, pinned)
	if err != nil {
		return err
	}
	attached(p.party.Name)
	stop := context.AfterFunc(ctx, func() {
		p.link.Goodbye(wire.Goodbye{Code: string(fault.Closed), Message: "the bus serves it no more"})
		after := time.AfterFunc(goodbyeTime, func() { p.link.Kill(ctx.Err()) })
		<-p.link.Down()
		after.Stop()
	})
	err = p.link.Run()
	stop()
	p.finish()
	if err != nil && ctx.Err() == nil {
		return linkError(fmt.Sprintf("endpoint %q", p.party.Name), err)
	}
	return nil
}

// finish forgets a peer whose link has ended.
func (p *peer) finish() {
	p.leave()
	for _, in := range p.inlets {
		if in.account != nil {
			in.account.Close(fault.Closed)
		}
	}
	close(p.ended)
}

// linkError says why a link has ended.
func linkError(who string, err error) error {
	var fouled *session.ProtocolError
	switch {
	case errors.As(err, &fouled):
		return fault.Errorf(fault.Protocol, "%s: %w", who, err)
	case errors.Is(err, session.ErrOverflow):
		return fault.Errorf(fault.Stalled, "%s: %w", who, err)
	}
	return fault.Errorf(fault.SessionLost, "%s: %w", who, err)
}

// refusalTime is how long a handshake may still take when the bus has begun to close.
const refusalTime = goodbyeTime / 2

// admit does the bus's side of the handshake.
func (n *Node) admit(ctx context.Context, conn Conn, pinned string) (*peer, error) {
	began := time.Now()
	hello, err := n.hello(ctx, conn)
	if err == nil {
		// The endpoint is attached as soon as it has read the answer. From then on a goodbye tells
		// it of the end of ctx or the Node, so the answer itself is bounded by nothing but time.
		release := session.Bound(context.Background(), conn, n.cfg.Handshake-time.Since(began))
		var p *peer
		if p, err = n.welcome(conn, hello, pinned); err == nil {
			if !release() {
				p.link.Kill(context.DeadlineExceeded)
			}
			return p, nil
		}
		session.Refuse(conn, err)
		release()
	}
	return nil, fault.Errorf(fault.Protocol, "a connection was refused: %w", err)
}

// hello reads how the endpoint introduces itself.
func (n *Node) hello(ctx context.Context, conn Conn) (*wire.Hello, error) {
	done := make(chan struct{})
	defer close(done)
	defer context.AfterFunc(n.life, func() {
		select {
		case <-done:
		case <-time.After(refusalTime): // so that who dials now is still told why it is refused
			conn.Close()
		}
	})()
	release := session.Bound(ctx, conn, n.cfg.Handshake)
	hello, err := session.ReadHello(conn)
	if release() {
		return hello, err
	}
	if err == nil { // it came at the last moment
		err = io.ErrClosedPipe
	}
	return nil, fmt.Errorf("the handshake took longer than %v, or was ended: %w",
		n.cfg.Handshake, err)
}

// welcome admits an endpoint, or says why not.
func (n *Node) welcome(conn Conn, hello *wire.Hello, pinned string) (*peer, error) {
	if err := CheckName("an endpoint", hello.Name); err != nil {
		return nil, err
	}
	if pinned != "" && pinned != hello.Name {
		return nil, fault.Errorf(fault.Denied, "the connection is for endpoint %q, not for %q",
			pinned, hello.Name)
	}
	party, p, err := n.join(conn, hello.Name)
	if err != nil {
		return nil, err
	}
	err = session.WriteWelcome(conn, &wire.Welcome{
		Version: wire.Version, Name: party.Name, Incarnation: n.incarnation,
		MaxFrame: uint64(n.cfg.MaxFrame), Lag: uint64(n.cfg.Lag),
		Stall: uint64(n.cfg.Stall / time.Millisecond),
	})
	if err != nil {
		p.link.Kill(err)
		p.finish()
		return nil, err
	}
	return p, nil
}

func (n *Node) join(conn Conn, name string) (*router.Party, *peer, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	party, err := n.joinLocked(name, nil)
	if err != nil {
		return nil, nil, err
	}
	p := n.newPeer(conn, party)
	party.Ref = p
	n.peers[p] = struct{}{}
	return party, p, nil
}

// maxStall is the longest limit that a bus can state, in milliseconds.
const maxStall = 1 << 40

// Connect attaches an endpoint to the bus at the other end of conn, which it closes in the end.
func Connect(ctx context.Context, name string, cfg Config, conn Conn) (*Endpoint, error) {
	if err := CheckName("an endpoint", name); err != nil {
		conn.Close()
		return nil, err
	}
	n := NewNode(cfg)
	release := session.Bound(ctx, conn, cfg.Handshake)
	welcome, err := session.Greet(conn, &wire.Hello{
		MinVersion: wire.Version, MaxVersion: wire.Version, Name: name, Incarnation: n.incarnation,
		MaxFrame: uint64(cfg.MaxFrame),
	})
	if !release() && err == nil {
		err = context.DeadlineExceeded
	}
	if err != nil {
		conn.Close()
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return nil, fmt.Errorf("attaching endpoint %q: %w", name, err)
	}
	n.cfg.MaxFrame, n.cfg.Lag = int(welcome.MaxFrame), int64(welcome.Lag)
	n.cfg.Stall = time.Duration(min(welcome.Stall, maxStall)) * time.Millisecond
	n.uplink = n.newPeer(conn, nil)
	ep, err := n.Attach(name)
	if err != nil {
		conn.Close()
		return nil, err
	}
	n.self = ep.party
	n.tasks.start(func() { n.uplink.run(ep) })
	return ep, nil
}

// run serves the link to the bus until it ends, and the endpoint with it.
func (p *peer) run(ep *Endpoint) {
	err := p.link.Run()
	if err != nil {
		err = linkError("the connection to the bus has ended", err)
	} else {
		err = fault.Errorf(fault.Closed, "the bus has closed")
	}
	ep.lost(err) // before the requests that wait find that nobody is left who could answer
	p.finish()
}
