package core

import (
	"cmp"
	"time"

	"github.com/lahja-go/lahja/internal/wire"
)

// Config are the limits of a Node. Of the numbers of things, 0 means the default.
type Config struct {
	Lag       int64         // bytes that the subscriptions to an event type may lag together
	MaxFrame  int           // bytes of an encoded event; 0: wire.MaxFrame
	Handshake time.Duration // for the whole of it
	Stall     time.Duration // that a subscription may take nothing while a publisher waits; 0: any
	Resume    time.Duration // that a session lives without a connection; 0: it ends with that
	Heartbeat time.Duration // after which a connection's silence is suspicious; 0: it never is

	Handshakes int // that are under way at once
	Endpoints  int // elsewhere

	// Of an endpoint.
	Subscriptions int // on the bus also of its own endpoints
	Requests      int // of one elsewhere, that are not answered yet
	Answers       int // that wait for one elsewhere that does not read
	Names         int // of events and responses, that one elsewhere may use while it is attached

	AnswerBytes int64 // of answers to requests that wait to be sent, or to be confirmed, on a link

	// Break falsifies who gets what, so that tests can show that it is noticed; nil: nothing does.
	Break func(*Route)

	// What it may have kept; bytes count with window.Overhead for each event.
	RetainedKeys int   // of one event type
	RetainedType int64 // bytes of one event type
	Retained     int64 // bytes of all
}

// The defaults of what an endpoint may have kept, which a bus need not state.
const (
	retainedKeys = 1024
	retainedType = 1 << 20
	retained     = 16 << 20
)

func (c Config) withDefaults() *Config {
	c.Lag = min(c.Lag, maxStated) // more is as good as no limit, and sums with it would overflow
	c.MaxFrame = cmp.Or(c.MaxFrame, wire.MaxFrame)
	c.Handshakes = cmp.Or(c.Handshakes, 128)
	c.Endpoints = cmp.Or(c.Endpoints, 65536)
	c.Subscriptions = cmp.Or(c.Subscriptions, 4096)
	c.Requests = cmp.Or(c.Requests, 16384)
	c.Answers = cmp.Or(c.Answers, 65536)
	c.Names = cmp.Or(c.Names, 16384)
	c.AnswerBytes = cmp.Or(c.AnswerBytes, 256<<20)
	c.RetainedKeys = cmp.Or(c.RetainedKeys, retainedKeys)
	c.RetainedType = cmp.Or(c.RetainedType, retainedType)
	c.Retained = cmp.Or(c.Retained, retained)
	return &c
}
