package core

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/lahja-go/lahja/internal/fault"
	"github.com/lahja-go/lahja/internal/session"
	"github.com/lahja-go/lahja/internal/wire"
)

// Serve attaches the endpoint at the other end of conn and serves it until it closes, the
// connection breaks, or ctx or the Node ends. It closes conn. caller may have to wait for the
// connection, so it is asked only once the endpoint has spoken. attached is called with the
// endpoint's name when it is admitted. The endpoint's session may live on when Serve returns, for
// as long as another connection may resume it.
func (n *Node) Serve(
	ctx context.Context, conn Conn, caller func() Caller, attached func(string),
) error {
	defer conn.Close()
	n.tasks.enter()
	defer n.tasks.leave()
	p, start, err := n.admit(ctx, conn, caller)
	if err != nil {
		return err
	}
	attached(p.party.Name)
	p.servedUnder(ctx)
	err = p.link.Carry(conn, start)
	if p.hasLeft() && p.link.Life().Err() == nil {
		// It has not heard our goodbye, and nobody can resume the session to hear it.
		p.link.Kill(nil)
		<-p.ended
		return nil
	}
	switch {
	case err == nil || ctx.Err() != nil || errors.Is(err, session.ErrDisplaced):
		return nil
	case p.link.Life().Err() == nil:
		return brokenError(fmt.Sprintf("endpoint %q: its connection has broken, and it may resume",
			p.party.Name), err)
	}
	return linkError(fmt.Sprintf("endpoint %q", p.party.Name), err)
}

// servedUnder has the session end with ctx, and with no context that it was served under before.
func (p *peer) servedUnder(ctx context.Context) {
	stop := context.AfterFunc(ctx, func() {
		p.link.Goodbye(wire.Goodbye{
			Code: string(fault.Closed), Message: "the bus serves it no more",
		})
		after := time.AfterFunc(goodbyeTime, func() { p.link.Kill(fault.Ended(ctx)) })
		<-p.link.Down()
		after.Stop()
	})
	p.mu.Lock()
	before, gone := p.unserve, p.gone
	p.unserve = stop
	p.mu.Unlock()
	if before != nil {
		before()
	}
	if gone { // perhaps for good, and then nobody calls stop: ctx may outlive the session by far
		stop()
	}
}

// Silent implements [session.Handler].
func (p *peer) Silent(since time.Duration) {
	if p.party != nil {
		p.node.warn("lahja: an endpoint has fallen silent", "endpoint", p.party.Name, "for", since)
		return
	}
	p.node.warn("lahja: the bus has fallen silent", "endpoint", p.node.self.Name, "for", since)
}

// Ended implements [session.Handler]: it forgets a peer whose link has ended.
func (p *peer) Ended(err error, lost int) {
	if p.party == nil {
		p.node.sessionEnded(p, err, lost)
	} else if lost > 0 {
		p.node.warn("lahja: an endpoint's session was lost; events for it may be lost too",
			"endpoint", p.party.Name, "events", lost, "error", err)
		if !p.told.Load() {
			p.node.failed(fault.Errorf(fault.Closed,
				"to endpoint %q %d events were not delivered: %w", p.party.Name, lost, err))
		}
	}
	p.leave()
	for _, in := range p.inlets {
		if in.account != nil {
			in.account.Close(fault.Closed)
		}
		in.peer.Store(nil) // what is outstanding may outlive it by far, and must not keep it all
	}
	p.mu.Lock()
	unserve := p.unserve
	p.mu.Unlock()
	if unserve != nil {
		unserve()
	}
	close(p.ended)
	if p.party != nil {
		p.node.tasks.leave()
	}
}

// brokenError says why a connection has ended, after which the session may go on.
func brokenError(what string, err error) error {
	var fouled *session.ProtocolError
	if errors.As(err, &fouled) {
		return fault.Errorf(fouled.Class(), "%s: %w", what, err)
	}
	return fmt.Errorf("%s: %w", what, err)
}

// linkError says why a link has ended.
func linkError(who string, err error) error {
	var fouled *session.ProtocolError
	var code fault.Code
	switch {
	case errors.As(err, &fouled):
		return fault.Errorf(fouled.Class(), "%s: %w", who, err)
	case errors.Is(err, session.ErrOverflow):
		return fault.Errorf(fault.Stalled, "%s: %w", who, err)
	case errors.As(err, &code):
		return fmt.Errorf("%s: %w", who, err)
	}
	return fault.Errorf(fault.SessionLost, "%s: %w", who, err)
}

// refusalTime is how long a handshake may still take when the bus has begun to close.
const refusalTime = goodbyeTime / 2

// admit does the bus's side of the handshake.
func (n *Node) admit(
	ctx context.Context, conn Conn, caller func() Caller,
) (p *peer, start session.Start, err error) {
	began := time.Now()
	hello, err := n.hello(ctx, conn)
	if err == nil {
		// The endpoint is attached as soon as it has read the answer. From then on a goodbye tells
		// it of the end of ctx or the Node, so the answer itself is bounded by nothing but time.
		left := n.config().Handshake - time.Since(began)
		release := session.Bound(context.Background(), conn, left)
		ctx, cancel := context.WithTimeout(ctx, left-answerTime(left))
		stop := context.AfterFunc(n.life, cancel)
		if len(hello.Session) > 0 {
			p, start, err = n.resume(ctx, conn, hello, caller())
		} else {
			p, err = n.welcome(ctx, conn, hello, caller())
		}
		stop()
		cancel()
		if err == nil {
			release() // if that was too late, conn is closed, which Carry finds
			return p, start, nil
		}
		refuse(conn, err)
		release()
	}
	if fault.CodeOf(err) != "" {
		return nil, start, fmt.Errorf("a connection was refused: %w", err)
	}
	return nil, start, fault.Errorf(fault.Protocol, "a connection was refused: %w", err)
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
	release := session.Bound(ctx, conn, n.config().Handshake)
	hello, err := session.ReadHello(conn)
	if release() {
		return hello, err
	}
	if err == nil { // it came at the last moment
		err = io.ErrClosedPipe
	}
	return nil, fmt.Errorf("the handshake took longer than %v, or was ended: %w",
		n.config().Handshake, err)
}

// resumable is the feature of a handshake that gives a session a life beyond its connection.
const resumable = "resume"

// welcome admits an endpoint, or says why not.
func (n *Node) welcome(
	ctx context.Context, conn Conn, hello *wire.Hello, caller Caller,
) (*peer, error) {
	if err := CheckName("an endpoint", hello.Name); err != nil {
		return nil, err
	}
	if caller.Pinned != "" && caller.Pinned != hello.Name {
		return nil, fault.Errorf(fault.Denied, "the connection is for endpoint %q, not for %q",
			caller.Pinned, hello.Name)
	}
	allowed, err := n.authorize(ctx, hello.Name, caller)
	if err != nil {
		return nil, err
	}
	p, err := n.join(hello, caller, allowed)
	if err != nil {
		return nil, err
	}
	w := n.terms(p)
	w.Name = p.party.Name
	if p.session != nil {
		w.Features, w.Session, w.Token = []string{resumable}, p.session, p.token
	}
	if err = session.WriteWelcome(conn, w); err != nil {
		p.link.Kill(err)
		<-p.ended
		return nil, err
	}
	return p, nil
}

// terms are what the bus states to an endpoint.
func (n *Node) terms(p *peer) *wire.Welcome {
	cfg := n.config()
	w := &wire.Welcome{
		Version: wire.Version, Name: p.party.Name, Incarnation: n.incarnation,
		MaxFrame: uint64(cfg.MaxFrame), Lag: uint64(cfg.Lag),
		Stall:        stated(cfg.Stall),
		Heartbeat:    stated(cfg.Heartbeat),
		RetainedKeys: unless(cfg.RetainedKeys, retainedKeys),
		RetainedType: unless(cfg.RetainedType, retainedType),
		Retained:     unless(cfg.Retained, retained),
	}
	if p.grants != nil {
		w.Permissions = p.grants.encoded
	}
	if p.session != nil {
		w.ResumeWindow = stated(cfg.Resume)
	}
	return w
}

// stated is a time in milliseconds, as a Welcome says it. Less than one is one: 0 is none.
func stated(limit time.Duration) uint64 {
	ms := limit / time.Millisecond
	if limit%time.Millisecond > 0 {
		ms++
	}
	return uint64(ms)
}

// unless is what a Welcome says of a limit: 0 for the default.
func unless[N int | int64](limit, normal N) uint64 {
	if limit == normal {
		return 0
	}
	return uint64(limit)
}

// resume has a session go on over another connection, or says why not. Who does not know the
// session's secret is not told whether there is such a session.
func (n *Node) resume(
	ctx context.Context, conn Conn, hello *wire.Hello, caller Caller,
) (*peer, session.Start, error) {
	start := session.Start{Attempt: hello.Attempt, Received: hello.Received}
	n.mu.Lock()
	p := n.sessions[string(hello.Session)]
	n.mu.Unlock()
	if p == nil || subtle.ConstantTimeCompare(p.token, hello.Token) != 1 ||
		p.party.Name != hello.Name || !p.caller.same(caller) {
		return nil, start, fault.Errorf(fault.SessionLost, "there is no such session")
	}
	if err := n.stillAllowed(ctx, p, caller); err != nil {
		return nil, start, err
	}
	received, err := p.link.Claim(hello.Attempt)
	if err != nil {
		return nil, start, fault.Errorf(fault.SessionLost, "%w", err)
	}
	if !p.link.CanResume(hello.Received) {
		p.link.Disclaim(hello.Attempt)
		return nil, start, fault.Errorf(fault.SessionLost, "%w", session.ErrPosition)
	}
	w := n.terms(p)
	w.Resumed, w.Received = true, received
	if err = session.WriteWelcome(conn, w); err != nil {
		p.link.Disclaim(hello.Attempt)
	}
	return p, start, err
}

// stillAllowed asks again what the endpoint of a session may do, and ends the session unless that
// is all that it was told. What has come to be allowed meanwhile counts for the next session.
func (n *Node) stillAllowed(ctx context.Context, p *peer, caller Caller) error {
	now, err := n.authorize(ctx, p.party.Name, caller)
	if err == nil && !now.include(p.grants) {
		err = fault.Errorf(fault.SessionLost, "endpoint %q has lost permissions", p.party.Name)
	}
	if err != nil && n.life.Err() == nil {
		p.link.Kill(err)
		<-p.ended
	}
	return err
}

// join makes a session for a new endpoint. The name may be held by one that has crashed: it gives
// way to the same caller.
func (n *Node) join(hello *wire.Hello, caller Caller, allowed *grants) (*peer, error) {
	for {
		p, err := n.tryJoin(hello, caller, allowed)
		if !errors.Is(err, fault.NameTaken) || !n.yields(hello.Name, caller) {
			return p, err
		}
	}
}

func (n *Node) tryJoin(hello *wire.Hello, caller Caller, allowed *grants) (*peer, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if limit := n.config().Endpoints; len(n.peers) >= limit && n.table.Find(hello.Name) == nil {
		return nil, fault.Errorf(fault.Denied,
			"the bus has %d endpoints, which is as many as it may", limit)
	}
	party, err := n.joinLocked(hello.Name, nil)
	if err != nil {
		return nil, err
	}
	opt := session.Options{
		MaxFrame: n.config().MaxFrame, Limit: n.backlogLimit(), Answers: n.config().Answers,
		Replies: n.config().AnswerBytes, Heartbeat: n.config().Heartbeat,
	}
	if n.config().Resume > 0 && slices.Contains(hello.Features, resumable) {
		opt.Window = n.config().Resume
	}
	p := n.newPeer(party, opt)
	p.caller, p.grants = caller, allowed
	if opt.Window > 0 {
		p.session, p.token = secret(), secret()
		n.sessions[string(p.session)] = p
	}
	party.Ref = p
	n.peers[p] = struct{}{}
	n.tasks.enter() // until Ended
	return p, nil
}

// secret returns bytes that nobody can guess.
func secret() []byte {
	b := make([]byte, 16)
	rand.Read(b) // never fails
	return b
}

// yieldTime is how long the holder of a name is given to show that it lives.
const yieldTime = time.Second

// yields reports whether the holder of a name is gone, or gives way to a newcomer: one that may
// resume does so to the same caller, as long as it has no connection that lives.
func (n *Node) yields(name string, newcomer Caller) bool {
	n.mu.Lock()
	var holder *peer
	if party := n.table.Find(name); party != nil {
		holder, _ = party.Ref.(*peer)
	}
	n.mu.Unlock()
	if holder == nil {
		return false // it is of this process, or has just gone
	}
	timeout := time.NewTimer(yieldTime)
	defer timeout.Stop()
	spoke, broke := holder.link.Sign()
	select {
	case <-spoke:
		return false
	case <-holder.link.Over():
		return true
	case <-broke:
	case <-timeout.C:
	}
	if holder.session == nil {
		return isClosed(holder.link.Down())
	}
	if !holder.caller.same(newcomer) {
		return false
	}
	holder.link.Kill(fault.Errorf(fault.SessionLost, "another endpoint has taken its name"))
	<-holder.ended
	return true
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
