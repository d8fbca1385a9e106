package core

import (
	"errors"
	"fmt"
	"time"

	"github.com/lahja-go/lahja/internal/fault"
	"github.com/lahja-go/lahja/internal/wire"
)

// request makes the call that belongs to an event of the peer; nil: it has as many as it may, and
// is told so.
func (p *peer) request(e *wire.Event) (*Call, error) {
	wanted, known := p.names[e.Wanted]
	if !known {
		return nil, fmt.Errorf("a request for a response with the number %d, which has no name",
			e.Wanted)
	}
	c := p.node.newCall(wanted)
	c.peer, c.remote, c.gather = p, e.Call, e.Flags&wire.FlagGather != 0
	c.asker, c.own = p.party, c.gather
	if e.Remaining > 0 {
		left := time.Duration(min(e.Remaining, uint64(maxRemaining/time.Microsecond)))
		c.deadline = time.Now().Add(left * time.Microsecond)
	}
	limit := p.node.config().Requests
	p.mu.Lock()
	_, taken := p.requests[e.Call]
	full := p.party != nil && len(p.requests) >= limit
	if !taken && !full {
		p.requests[e.Call] = c
	}
	p.mu.Unlock()
	switch {
	case taken:
		return nil, fmt.Errorf("a second request with the number %d", e.Call)
	case full:
		p.answered(c, Answer{nobody: true, Err: fault.Remote("bus", fault.Errorf(fault.Denied,
			"endpoint %q has %d requests that wait for answers, which is as many as it may",
			p.party.Name, limit))})
		return nil, nil
	}
	p.node.register(c)
	return c, nil
}

// maxRemaining is the longest time that a requester is taken to wait: more is as good as no limit.
const maxRemaining = 10 * 365 * 24 * time.Hour

// answered tells the peer how a call that it made has ended.
func (p *peer) answered(c *Call, a Answer) {
	p.mu.Lock()
	delete(p.requests, c.remote)
	p.mu.Unlock()
	switch {
	case a.cancelled:
	case a.nobody:
		e := wire.End{Call: c.remote, Code: string(fault.CodeOf(a.Err)), Message: a.Err.Error()}
		var said *fault.RemoteError
		if errors.As(a.Err, &said) {
			e.Origin, e.Message = said.Endpoint, said.Message
		}
		p.link.Answer(func(dst []byte) []byte { return wire.AppendEnd(dst, e) })
	default:
		p.sendAnswer(c.remote, a, true)
	}
}

// sendAnswer tells the peer an answer to the call that it knows by that number.
func (p *peer) sendAnswer(remote uint64, a Answer, final bool) {
	r := wire.Reply{Call: remote, Final: final, Origin: a.Origin, Name: a.Name, Payload: a.Payload}
	if a.Err != nil {
		var said *fault.RemoteError
		switch r.Gone = !errors.As(a.Err, &said); {
		case !r.Gone:
			r.Origin, r.Code, r.Message = said.Endpoint, string(said.Code), said.Message
		case errors.Is(a.Err, fault.NoSubscribers):
			r.Code = string(fault.NoSubscribers)
		}
	}
	frame := func(dst []byte) []byte { return wire.AppendReply(dst, &r) }
	// Of those that are not final as many come as there are endpoints: that is not for who asks to
	// say.
	if !p.link.Reply(len(r.Payload)+len(r.Message), final, frame) {
		r.Origin, r.Code, r.Message = p.crammed(a.Origin)
		r.Name, r.Payload = "", nil
		p.link.Reply(0, final, frame)
	}
}

// crammed is what the peer gets in place of an answer when as many bytes of answers wait for it as
// may: its session is worth more than one answer.
func (p *peer) crammed(origin string) (from, code, message string) {
	most := p.node.config().AnswerBytes
	if p.party == nil {
		return origin, string(fault.Denied), fmt.Sprintf(
			"endpoint %q has %d bytes of answers that wait to be sent, which is as many as it may",
			origin, most)
	}
	return "bus", string(fault.Denied), fmt.Sprintf(
		"endpoint %q has %d bytes of answers that it has not read, which is as many as it may",
		p.party.Name, most)
}

// reply takes an answer to a call of this Node.
func (p *peer) reply(body []byte) error {
	var r wire.Reply
	err := wire.ParseReply(body, &r)
	if err == nil && r.Gone && (p.party != nil || r.Name != "") {
		err = errors.New("a reply says that an endpoint is gone, as only an error of the bus may")
	}
	if err == nil {
		err = p.fits("a reply", len(r.Payload)+len(r.Message), r.Name, r.Code, r.Origin)
	}
	if err != nil {
		return err
	}
	c, party := p.node.call(r.Call, p)
	if c == nil {
		return nil // it has been answered or cancelled meanwhile
	}
	if !c.asks(party) {
		return nil // it was not asked, and learns nothing of who was
	}
	p.node.forget(r.Call)
	if p.party != nil {
		r.Origin = p.party.Name
	}
	a := Answer{Origin: r.Origin, Name: r.Name}
	switch {
	case r.Gone && fault.Code(r.Code) == fault.NoSubscribers:
		a.silent, a.Err = true, fault.NoSubscribers
	case r.Gone:
		a = unanswered(r.Origin)
	case r.Name == "":
		a.Err = &fault.RemoteError{Endpoint: r.Origin, Code: fault.Code(r.Code), Message: r.Message}
	case r.Name != c.wanted:
		return fmt.Errorf("an answer with %q, where %q is wanted", r.Name, c.wanted)
	default:
		a.Payload = append([]byte(nil), r.Payload...)
	}
	if p.party == nil && c.gather {
		c.pass(p, a)
	} else {
		_ = c.answer(party, a) // too late is no fault of the peer
	}
	return nil
}

// end notes that the peer will not answer a call of this Node.
func (p *peer) end(body []byte) error {
	e, err := wire.ParseEnd(body)
	if err == nil {
		err = p.fits("the end of a request", len(e.Message), e.Code, e.Origin)
	}
	if err != nil {
		return err
	}
	c, party := p.node.call(e.Call, p)
	if c == nil || !c.asks(party) {
		return nil
	}
	p.node.forget(e.Call)
	if p.party != nil {
		e.Origin = p.party.Name
	}
	code := fault.Code(e.Code)
	if code == fault.NoSubscribers && p.party != nil {
		// It was asked because it subscribed, and has ended that meanwhile.
		code = fault.ResponderGone
	}
	switch code {
	case fault.NoSubscribers:
		c.none(party)
	case "", fault.ResponderGone:
		c.gone(party, p.silence())
	default:
		c.gone(party, &fault.RemoteError{Endpoint: e.Origin, Code: code, Message: e.Message})
	}
	return nil
}

// silence is why the peer does not answer. The bus has said before who of its endpoints do not.
func (p *peer) silence() error {
	if p.party == nil {
		return nil
	}
	return fault.ResponderGone
}

// cancelled ends a call that the peer has made.
func (p *peer) cancelled(body []byte) error {
	var remote uint64
	if err := wire.Uvarints(body, &remote); err != nil {
		return err
	}
	p.mu.Lock()
	c := p.requests[remote]
	p.mu.Unlock()
	if c != nil {
		c.Cancel()
	}
	return nil
}

// cancel tells the peer that a call of this Node is over.
func (p *peer) cancel(id uint64) {
	p.link.Withdraw(id)
	p.link.Send(func(dst []byte) []byte {
		return wire.AppendUvarints(dst, wire.TypeCancel, id)
	})
}
