package wire

import (
	"encoding/binary"
	"fmt"
)

// Type says what a frame is. Its two highest bits say how it is treated by one who does not know
// it: with bit 7 set it may be ignored. With bit 6 set it concerns the connection alone and has
// no position; all others are numbered one after the other, from 0, in each direction.
type Type uint8

// The numbered frames.
const (
	TypeName       Type = 0x01 // gives a name a number
	TypeEvent      Type = 0x02 // a broadcast or a request
	TypeTaken      Type = 0x03 // events that every subscription here has taken
	TypeWindow     Type = 0x04 // how much of an event type may be outstanding
	TypeWindowAck  Type = 0x05 // a window was received
	TypeSubscribe  Type = 0x06
	TypeSubscribed Type = 0x07 // the subscription counts from this position on, or is refused
	TypeLeave      Type = 0x08 // a subscription has ended
	TypeRoom       Type = 0x09 // a member of a group can take so many events more
	TypeReply      Type = 0x0a // an answer to a request
	TypeEnd        Type = 0x0b // no answer, or no further one, comes to a request
	TypeCancel     Type = 0x0c // a request is no longer wanted
	TypeAsk        Type = 0x0d // how many endpoints would get this event?
	TypeAnswer     Type = 0x0e
	TypeWatch      Type = 0x0f // begin or stop to report peers
	TypePeer       Type = 0x10 // one endpoint and what it subscribes to
	TypePeers      Type = 0x11 // the peers sent so far are a complete view
	TypeForget     Type = 0x12 // what was retained under a key is to be forgotten
	TypeGoodbye    Type = 0x13 // the last numbered frame in this direction
	TypeHeld       Type = 0x14 // publishers that wait for subscriptions to an event
	TypeDrain      Type = 0x15 // the bus is about to close: send what was accepted, then Goodbye
	TypeReturn     Type = 0x16 // an event for a group that was not taken: it may go to another
)

// The frames of the connection.
const (
	TypeHello   Type = 0x40 // the first frame of the dialling side
	TypeWelcome Type = 0x41 // the first of the accepting side
	TypeRefusal Type = 0x42 // in place of a welcome
	TypeConfirm Type = 0x43 // how many numbered frames were received
	TypePing    Type = 0x44
	TypePong    Type = 0x45
	TypeVoid    Type = 0xc0 // nothing; any content
)

// Numbered reports whether frames of the type have a position.
func (t Type) Numbered() bool { return t&0x40 == 0 }

// Ignorable reports whether a frame of the type may be ignored by one who does not know it.
func (t Type) Ignorable() bool { return t&0x80 != 0 }

// flagExt says that the body begins with an extension: a uvarint length of at most maxExt, and
// as many bytes, which version 1 skips.
const flagExt = 1 << 0

// Frame is one frame of a record:
//
//	offset  size    field
//	0       1       type
//	1       1       flags: bit 0 extension, the others 0
//	2       4       length of the body
//	6       length  body
type Frame struct {
	Type Type
	Body []byte // without the extension; it aliases the record
}

// Next takes the first frame off body and returns what follows it.
func Next(body []byte, limit int) (f Frame, rest []byte, err error) {
	if len(body) < FrameHeader {
		return f, nil, fmt.Errorf("a record ends inside the head of a frame")
	}
	f.Type = Type(body[0])
	flags, length := body[1], binary.BigEndian.Uint32(body[2:])
	body = body[FrameHeader:]
	switch {
	case flags&^flagExt != 0:
		return f, nil, fmt.Errorf("frame type %#02x has unknown flags %#02x", uint8(f.Type), flags)
	case uint64(length) > uint64(limit):
		return f, nil, fmt.Errorf("a frame of %d bytes, where %d are allowed", length, limit)
	case uint64(length) > uint64(len(body)):
		return f, nil, fmt.Errorf("a record ends inside a frame")
	}
	f.Body, rest = body[:length:length], body[length:]
	if flags&flagExt != 0 {
		c := cursor{rest: f.Body}
		if n := c.uvarint(); n > maxExt {
			return f, nil, fmt.Errorf("an extension of %d bytes, where %d are allowed", n, maxExt)
		} else {
			c.bytes(n)
		}
		if c.bad {
			return f, nil, fmt.Errorf("a frame ends inside its extension")
		}
		f.Body = c.rest
	}
	return f, rest, nil
}

// Begin starts a frame at the end of dst; finish it with Finish.
func Begin(dst []byte, t Type) []byte {
	return append(dst, byte(t), 0, 0, 0, 0, 0)
}

// Finish writes the length of the frame that begins at start and ends with dst.
func Finish(dst []byte, start int) []byte {
	binary.BigEndian.PutUint32(dst[start+2:], uint32(len(dst)-start-FrameHeader))
	return dst
}

// Append appends a whole frame to dst.
func Append(dst []byte, t Type, body []byte) []byte {
	start := len(dst)
	return Finish(append(Begin(dst, t), body...), start)
}

// AppendUvarints appends a frame whose body is the uvarints vs.
func AppendUvarints(dst []byte, t Type, vs ...uint64) []byte {
	start := len(dst)
	dst = Begin(dst, t)
	for _, v := range vs {
		dst = binary.AppendUvarint(dst, v)
	}
	return Finish(dst, start)
}

// Uvarints reads a body that is exactly len(vs) uvarints.
func Uvarints(body []byte, vs ...*uint64) error {
	c := cursor{rest: body}
	for _, v := range vs {
		*v = c.uvarint()
	}
	return c.end("a frame")
}

// cursor reads a body from its front. After a mistake it is bad and returns zeros.
type cursor struct {
	rest []byte
	bad  bool
}

// uvarint is short enough to be inlined: most numbers are of one byte.
func (c *cursor) uvarint() uint64 {
	if len(c.rest) > 0 && c.rest[0] < 0x80 {
		v := c.rest[0]
		c.rest = c.rest[1:]
		return uint64(v)
	}
	return c.long()
}

func (c *cursor) long() uint64 {
	v, n := binary.Uvarint(c.rest)
	if n <= 0 {
		c.bad, c.rest = true, nil
		return 0
	}
	c.rest = c.rest[n:]
	return v
}

func (c *cursor) bytes(n uint64) []byte {
	if n > uint64(len(c.rest)) {
		c.bad, c.rest = true, nil
		return nil
	}
	b := c.rest[:n:n]
	c.rest = c.rest[n:]
	return b
}

func (c *cursor) string() string { return string(c.bytes(c.uvarint())) }

// names reads a count and as many names. The count is checked before memory is taken.
func (c *cursor) names() []string {
	n := c.uvarint()
	if n > MaxNames || n > uint64(len(c.rest)) { // each has a byte at least
		c.bad, c.rest = true, nil
		return nil
	}
	list := make([]string, n)
	for i := range list {
		name := c.bytes(c.uvarint())
		if len(name) > MaxName {
			c.bad, c.rest = true, nil
			return nil
		}
		list[i] = string(name)
	}
	return list
}

// end reports a mistake, bytes that follow the end included.
func (c *cursor) end(what string) error {
	if c.bad {
		return fmt.Errorf("%s ends too early or holds an impossible number", what)
	}
	if len(c.rest) > 0 {
		return fmt.Errorf("%s has %d bytes too many", what, len(c.rest))
	}
	return nil
}

func appendString(dst []byte, s string) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}

func appendStrings(dst []byte, list []string) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(list)))
	for _, s := range list {
		dst = appendString(dst, s)
	}
	return dst
}
