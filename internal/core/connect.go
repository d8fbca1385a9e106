package core

import (
	"context"
	"errors"
	"fmt"
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

// admit does the bus's side of the handshake.
func (n *Node) admit(ctx context.Context, conn Conn, pinned string) (*peer, error) {
	defer context.AfterFunc(n.life, func() { conn.Close() })()
	release := session.Bound(ctx, conn, n.cfg.Handshake)
	hello, err := session.ReadHello(conn)
	if err == nil {
		var p *peer
		if p, err = n.welcome(conn, hello, pinned); err == nil {
			if !release() {
				p.link.Kill(context.DeadlineExceeded)
			}
			return p, nil
		}
		session.Refuse(conn, err)
	}
	if !release() {
		err = fmt.Errorf("the handshake took longer than %v, or was ended: %w", n.cfg.Handshake, err)
	}
	return nil, fault.Errorf(fault.Protocol, "a connection was refused: %w", err)
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
	p.finish()
	if err != nil {
		err = linkError("the connection to the bus has ended", err)
	} else {
		err = fault.Errorf(fault.Closed, "the bus has closed")
	}
	ep.lost(err)
}
