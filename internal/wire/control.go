package wire

import (
	"fmt"

	"github.com/lahja-go/lahja/internal/codec"
)

// Messages that are sent seldom are CBOR maps with small integers as keys, so that later versions
// can add to them: a reader ignores keys that it does not know.

// Version is the version of the protocol that this package speaks.
const Version = 1

// MaxHandshake is the largest body of the record that carries a Hello, Welcome or Refusal.
const MaxHandshake = 4 << 10

// Hello is what the dialling side sends first.
type Hello struct {
	MinVersion  uint64   `cbor:"1,keyasint"`
	MaxVersion  uint64   `cbor:"2,keyasint"`
	Features    []string `cbor:"3,keyasint,omitempty"`
	Name        string   `cbor:"4,keyasint"`           // the endpoint's name
	Incarnation []byte   `cbor:"5,keyasint"`           // random bytes of this life of the endpoint
	Session     []byte   `cbor:"6,keyasint,omitempty"` // the session to resume
	Token       []byte   `cbor:"7,keyasint,omitempty"` // its secret
	Attempt     uint64   `cbor:"8,keyasint,omitempty"` // of resumes, the highest wins
	Received    uint64   `cbor:"9,keyasint,omitempty"` // numbered frames received in the session
	MaxFrame    uint64   `cbor:"10,keyasint,omitempty"`
	Heartbeat   uint64   `cbor:"11,keyasint,omitempty"` // milliseconds
	Credentials []byte   `cbor:"12,keyasint,omitempty"`
	Extension   []byte   `cbor:"13,keyasint,omitempty"`
}

// Welcome admits the endpoint.
type Welcome struct {
	Version      uint64   `cbor:"1,keyasint"`
	Features     []string `cbor:"2,keyasint,omitempty"`
	Name         string   `cbor:"3,keyasint"`           // the name that the endpoint has
	Incarnation  []byte   `cbor:"4,keyasint"`           // random bytes of this life of the bus
	Session      []byte   `cbor:"5,keyasint,omitempty"` // empty: it cannot be resumed
	Token        []byte   `cbor:"6,keyasint,omitempty"`
	Resumed      bool     `cbor:"7,keyasint,omitempty"`
	Received     uint64   `cbor:"8,keyasint,omitempty"`
	MaxFrame     uint64   `cbor:"9,keyasint"`            // bytes; for both directions
	Lag          uint64   `cbor:"10,keyasint"`           // bytes that a subscription may lag
	Heartbeat    uint64   `cbor:"11,keyasint,omitempty"` // milliseconds
	ResumeWindow uint64   `cbor:"12,keyasint,omitempty"` // milliseconds
	Permissions  []byte   `cbor:"13,keyasint,omitempty"` // empty: everything is allowed
	Extension    []byte   `cbor:"14,keyasint,omitempty"`
	Stall        uint64   `cbor:"15,keyasint,omitempty"` // milliseconds; 0: no limit
	RetainedKeys uint64   `cbor:"16,keyasint,omitempty"` // of one event type; 0: as by default
	RetainedType uint64   `cbor:"17,keyasint,omitempty"` // bytes of one event type
	Retained     uint64   `cbor:"18,keyasint,omitempty"` // bytes of all events
}

// Refusal says why an endpoint is not admitted.
type Refusal struct {
	Code       string `cbor:"1,keyasint"`
	Message    string `cbor:"2,keyasint"`
	RetryAfter uint64 `cbor:"3,keyasint,omitempty"` // milliseconds; 0: do not
}

// Permissions are the names of the events that the endpoint may deal with; one that ends in *
// stands for all that begin so. They are encoded by themselves in a Welcome.
type Permissions struct {
	Broadcast []string `cbor:"1,keyasint,omitempty"`
	Subscribe []string `cbor:"2,keyasint,omitempty"`
	Request   []string `cbor:"3,keyasint,omitempty"`
	Handle    []string `cbor:"4,keyasint,omitempty"`
}

// Subscribe announces a subscription. It is answered by Subscribed.
type Subscribe struct {
	ID         uint64   `cbor:"1,keyasint"` // chosen by the endpoint, never used again
	Event      string   `cbor:"2,keyasint"`
	From       []string `cbor:"3,keyasint,omitempty"` // the origins that alone count; empty: all
	Observe    bool     `cbor:"4,keyasint,omitempty"`
	DropOldest bool     `cbor:"5,keyasint,omitempty"`
	Retained   bool     `cbor:"6,keyasint,omitempty"`
	Group      string   `cbor:"7,keyasint,omitempty"`
	Room       uint64   `cbor:"8,keyasint,omitempty"` // events that it can take at once
	Response   string   `cbor:"9,keyasint,omitempty"` // what its handler answers; empty: anything
	Source     string   `cbor:"10,keyasint,omitempty"`
}

// Subscribed says that a subscription counts from here on, or with a Code that it is refused.
type Subscribed struct {
	ID      uint64 `cbor:"1,keyasint"`
	Code    string `cbor:"2,keyasint,omitempty"`
	Message string `cbor:"3,keyasint,omitempty"`
}

// Leave ends a subscription. From the bus it has a Code that says why.
type Leave Subscribed

// Ask asks how many endpoints an event would go to, the asking one left out.
type Ask struct {
	ID     uint64   `cbor:"1,keyasint"`
	Event  string   `cbor:"2,keyasint"`
	HasTo  bool     `cbor:"3,keyasint,omitempty"`
	To     []string `cbor:"4,keyasint,omitempty"`
	Except []string `cbor:"5,keyasint,omitempty"`
}

// Answer answers Ask.
type Answer struct {
	ID    uint64 `cbor:"1,keyasint"`
	Count uint64 `cbor:"2,keyasint"`
}

// Peer is an endpoint that the bus knows, or knew.
type Peer struct {
	Name   string   `cbor:"1,keyasint"`
	Events []string `cbor:"2,keyasint,omitempty"` // what it subscribes to
	Gone   bool     `cbor:"3,keyasint,omitempty"`
}

// Forget ends what is retained of an event under a key.
type Forget struct {
	Event string `cbor:"1,keyasint"`
	Key   string `cbor:"2,keyasint,omitempty"`
}

// Held says which publishers wait for subscriptions to an event that lag; none: it is over.
type Held struct {
	Number     uint64   `cbor:"1,keyasint"` // of the event's name, as the sender has numbered it
	Publishers []string `cbor:"2,keyasint,omitempty"`
	Alone      []uint64 `cbor:"3,keyasint,omitempty"` // subscriptions alone in their groups
}

// Goodbye is the last numbered frame in its direction, with the reason.
type Goodbye struct {
	Code    string `cbor:"1,keyasint,omitempty"`
	Message string `cbor:"2,keyasint,omitempty"`
}

// AppendControl appends a frame with the CBOR of v, one of the messages above, to dst. They hold
// nothing that could not be encoded.
func AppendControl(dst []byte, t Type, v any) []byte {
	return Append(dst, t, Encode(v))
}

// Encode returns the CBOR of v, one of the messages above.
func Encode(v any) []byte {
	body, err := codec.Control.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("lahja: a control message cannot be encoded: %v", err))
	}
	return body
}

// ParseControl reads the body of a frame into v, one of the messages above.
func ParseControl(body []byte, v any) error {
	if err := codec.Control.Unmarshal(body, v); err != nil {
		return fmt.Errorf("a %T that cannot be read: %w", v, err)
	}
	return nil
}
