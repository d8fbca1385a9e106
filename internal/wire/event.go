package wire

import (
	"encoding/binary"
	"fmt"
)

// EventFlags say which of an event's optional fields are present, and what is special about it.
type EventFlags uint64

// The flags, in the order in which their fields follow each other.
const (
	FlagPrompt   EventFlags = 1 << iota // report at once when it is taken
	FlagOrigin                          // Origin; always sent by a bus, never by an endpoint
	FlagTo                              // To
	FlagExcept                          // Except
	FlagRequest                         // Call, Remaining and Wanted
	FlagTarget                          // Target
	FlagMissed                          // Missed
	FlagRetain                          // to be kept as the latest
	FlagKey                             // Key
	FlagRetained                        // it was kept and is sent again
	FlagGone                            // what was kept under its origin and key has ended
	FlagGap                             // a session was lost before it: events may be missing
	FlagCodec                           // Codec
	FlagGather                          // of a request: every recipient's answer is wanted
	flagEnd
)

// Event is a broadcast or a request. An endpoint sends it to its bus, the bus to endpoints.
type Event struct {
	Flags     EventFlags
	Name      uint64   // the number of the event's name
	Slot      uint64   // chosen by the sender, which learns by it that the event was taken
	Origin    uint64   // the number of the endpoint's name
	To        []string // the endpoints that alone may get it
	Except    []string // those that may not
	Call      uint64   // the sender's number of the request
	Remaining uint64   // microseconds until the requester gives up, rounded up; 0: no limit
	Wanted    uint64   // the number of the response's name
	Target    uint64   // the subscription that alone gets it
	Missed    uint64   // events dropped for that subscription, and not told yet
	Key       string   // what it is kept under
	Codec     uint64   // of the payload; 0 and absent: CBOR
	Payload   []byte   // the rest of the frame
}

// AppendEvent appends the frame of e to dst.
func AppendEvent(dst []byte, e *Event) []byte {
	start := len(dst)
	dst = Begin(dst, TypeEvent)
	dst = binary.AppendUvarint(dst, uint64(e.Flags))
	dst = binary.AppendUvarint(dst, e.Name)
	dst = binary.AppendUvarint(dst, e.Slot)
	if e.Flags&^FlagPrompt != 0 {
		dst = appendOptional(dst, e)
	}
	return Finish(append(dst, e.Payload...), start)
}

func appendOptional(dst []byte, e *Event) []byte {
	if e.Flags&FlagOrigin != 0 {
		dst = binary.AppendUvarint(dst, e.Origin)
	}
	if e.Flags&FlagTo != 0 {
		dst = appendStrings(dst, e.To)
	}
	if e.Flags&FlagExcept != 0 {
		dst = appendStrings(dst, e.Except)
	}
	if e.Flags&FlagRequest != 0 {
		dst = binary.AppendUvarint(dst, e.Call)
		dst = binary.AppendUvarint(dst, e.Remaining)
		dst = binary.AppendUvarint(dst, e.Wanted)
	}
	if e.Flags&FlagTarget != 0 {
		dst = binary.AppendUvarint(dst, e.Target)
	}
	if e.Flags&FlagMissed != 0 {
		dst = binary.AppendUvarint(dst, e.Missed)
	}
	if e.Flags&FlagKey != 0 {
		dst = appendString(dst, e.Key)
	}
	if e.Flags&FlagCodec != 0 {
		dst = binary.AppendUvarint(dst, e.Codec)
	}
	return dst
}

// ParseEvent reads the body of an event frame into e, whose Payload aliases it.
func ParseEvent(body []byte, e *Event) error {
	c := cursor{rest: body}
	*e = Event{Flags: EventFlags(c.uvarint()), Name: c.uvarint(), Slot: c.uvarint()}
	if e.Flags >= flagEnd {
		return fmt.Errorf("an event has unknown flags %#x", uint64(e.Flags))
	}
	if e.Flags&FlagOrigin != 0 {
		e.Origin = c.uvarint()
	}
	if e.Flags&^(FlagPrompt|FlagOrigin) != 0 {
		parseOptional(&c, e)
	}
	e.Payload = c.rest
	c.rest = nil
	return c.end("an event")
}

func parseOptional(c *cursor, e *Event) {
	if e.Flags&FlagTo != 0 {
		e.To = c.names()
	}
	if e.Flags&FlagExcept != 0 {
		e.Except = c.names()
	}
	if e.Flags&FlagRequest != 0 {
		e.Call, e.Remaining, e.Wanted = c.uvarint(), c.uvarint(), c.uvarint()
	}
	if e.Flags&FlagTarget != 0 {
		e.Target = c.uvarint()
	}
	if e.Flags&FlagMissed != 0 {
		e.Missed = c.uvarint()
	}
	if e.Flags&FlagKey != 0 {
		e.Key = c.string()
	}
	if e.Flags&FlagCodec != 0 {
		e.Codec = c.uvarint()
	}
}

// Name gives the name of an event, a response or an endpoint a number, for all later frames in
// the same direction of the session. An empty name retires the number.
type Name struct {
	Number uint64
	Name   string
}

// AppendName appends the frame of n to dst.
func AppendName(dst []byte, n Name) []byte {
	start := len(dst)
	dst = binary.AppendUvarint(Begin(dst, TypeName), n.Number)
	return Finish(append(dst, n.Name...), start)
}

// ParseName reads the body of a name frame.
func ParseName(body []byte) (Name, error) {
	c := cursor{rest: body}
	n := Name{Number: c.uvarint()}
	if len(c.rest) > MaxName {
		return n, fmt.Errorf("a name of %d bytes, where %d are allowed", len(c.rest), MaxName)
	}
	n.Name = string(c.rest)
	c.rest = nil
	return n, c.end("a name")
}

// Reply is an answer to a request. One that is an error has no Name, and a code and a message in
// place of a payload.
type Reply struct {
	Call    uint64
	Final   bool   // the sender has no further answer
	Gone    bool   // the bus says of Origin that it will not answer; then it is an error
	Origin  string // who answers; set by the bus
	Name    string // of the response's type; empty for an error
	Code    string // of the error
	Message string // of the error
	Payload []byte
}

const (
	replyFinal = 1 << 0
	replyError = 1 << 1
	replyGone  = 1 << 2
)

// AppendReply appends the frame of r to dst.
func AppendReply(dst []byte, r *Reply) []byte {
	start := len(dst)
	dst = binary.AppendUvarint(Begin(dst, TypeReply), r.Call)
	var flags uint64
	if r.Final {
		flags |= replyFinal
	}
	if r.Gone {
		flags |= replyGone
	}
	if r.Name == "" {
		flags |= replyError
	}
	dst = binary.AppendUvarint(dst, flags)
	dst = appendString(dst, r.Origin)
	if r.Name == "" {
		dst = appendString(appendString(dst, r.Code), r.Message)
	} else {
		dst = append(appendString(dst, r.Name), r.Payload...)
	}
	return Finish(dst, start)
}

// ParseReply reads the body of a reply frame into r, whose Payload aliases it.
func ParseReply(body []byte, r *Reply) error {
	c := cursor{rest: body}
	*r = Reply{Call: c.uvarint()}
	flags := c.uvarint()
	if flags&^(replyFinal|replyError|replyGone) != 0 {
		return fmt.Errorf("a reply has unknown flags %#x", flags)
	}
	r.Final, r.Gone = flags&replyFinal != 0, flags&replyGone != 0
	r.Origin = c.string()
	if flags&replyError != 0 {
		r.Code, r.Message = c.string(), c.string()
		return c.end("a reply")
	}
	r.Name, r.Payload = c.string(), c.rest
	if r.Name == "" && !c.bad {
		return fmt.Errorf("a reply without the name of its type")
	}
	c.rest = nil
	return c.end("a reply")
}

// End says that no answer, or no further one, comes to a request. From an endpoint to the bus:
// the endpoint counts no more. From the bus to the requester: nobody does.
type End struct {
	Call    uint64
	Origin  string // who refused it; set by the bus
	Code    string // why, if it was refused; or the error that the requester is to have
	Message string
}

// AppendEnd appends the frame of e to dst.
func AppendEnd(dst []byte, e End) []byte {
	start := len(dst)
	dst = binary.AppendUvarint(Begin(dst, TypeEnd), e.Call)
	dst = appendString(dst, e.Origin)
	return Finish(appendString(appendString(dst, e.Code), e.Message), start)
}

// ParseEnd reads the body of an end frame.
func ParseEnd(body []byte) (End, error) {
	c := cursor{rest: body}
	e := End{Call: c.uvarint(), Origin: c.string(), Code: c.string(), Message: c.string()}
	return e, c.end("the end of a request")
}

// Ranges is a set of slots in the order in which they were added: pairs of a first slot and a
// length. It grows by two numbers for each slot that does not follow its predecessor.
type Ranges struct {
	pairs []uint64
	start int // of what is left of pairs
	count int
}

// Add adds a slot.
func (r *Ranges) Add(slot uint64) {
	r.count++
	if n := len(r.pairs); n > r.start && r.pairs[n-2]+r.pairs[n-1] == slot && slot > 0 {
		r.pairs[n-1]++
		return
	}
	r.pairs = append(r.pairs, slot, 1)
}

// Len is the number of slots.
func (r *Ranges) Len() int { return r.count }

// Size is how many bytes of memory the slots take.
func (r *Ranges) Size() int { return 8 * (len(r.pairs) - r.start) }

// Reset empties r and keeps its memory, unless that is unusually much.
func (r *Ranges) Reset() {
	r.pairs, r.start, r.count = r.pairs[:0], 0, 0
	if cap(r.pairs) > 4*maxPairs {
		r.pairs = nil
	}
}

// maxPairs is how many pairs a taken frame has at most, so that every limit of a frame's size
// allows it.
const maxPairs = 256

// MaxTaken is the most bytes that AppendTaken appends.
const MaxTaken = FrameHeader + maxPairs*2*binary.MaxVarintLen64

// AppendTaken appends a frame that reports slots of r to dst, the first of them if there are very
// many, and takes them out of r: pairs of a first slot and a number of slots that follow one
// another.
func AppendTaken(dst []byte, r *Ranges) []byte {
	end := min(len(r.pairs), r.start+2*maxPairs)
	dst = AppendUvarints(dst, TypeTaken, r.pairs[r.start:end]...)
	for ; r.start < end; r.start += 2 {
		r.count -= int(r.pairs[r.start+1])
	}
	switch {
	case r.count == 0:
		r.Reset()
	case r.start > len(r.pairs)/2: // else it would grow for as long as it is never empty
		r.pairs = r.pairs[:copy(r.pairs, r.pairs[r.start:])]
		r.start = 0
	}
	return dst
}

// ParseTaken calls take for each slot in the body of a taken frame, below limit.
func ParseTaken(body []byte, limit uint64, take func(slot uint64) error) error {
	c := cursor{rest: body}
	for len(c.rest) > 0 {
		first, length := c.uvarint(), c.uvarint()
		if c.bad || length == 0 || first >= limit || length > limit-first {
			return fmt.Errorf("a report of slots that were never used")
		}
		for slot := first; slot < first+length; slot++ {
			if err := take(slot); err != nil {
				return err
			}
		}
	}
	return c.end("a report of taken events")
}
