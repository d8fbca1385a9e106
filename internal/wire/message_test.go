package wire_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"reflect"
	"testing"

	"pgregory.net/rapid"

	"github.com/lahja-go/lahja/internal/fuzzing"
	"github.com/lahja-go/lahja/internal/wire"
)

// message is one kind of body, for the laws that hold of all of them.
type message struct {
	name     string
	typ      wire.Type
	generate *rapid.Generator[any]
	append   func(dst []byte, v any) []byte
	parse    func(body []byte) (any, error)
	keys     bool // it is a CBOR map

	// tail is how many bytes at the end of v's body may be missing or more: those of a field that
	// is the rest of the body. nil: none.
	tail func(v any) (bytes int, open bool)
}

// messages are the kinds that are not uvarints alone.
var messages = []message{
	{
		name: "Event", typ: wire.TypeEvent, generate: rapid.Custom(anEvent).AsAny(),
		append: func(dst []byte, v any) []byte {
			e := v.(wire.Event)
			return wire.AppendEvent(dst, &e)
		},
		parse: func(body []byte) (any, error) {
			var e wire.Event
			err := wire.ParseEvent(body, &e)
			return e, err
		},
		tail: func(v any) (int, bool) { return len(v.(wire.Event).Payload), true },
	},
	{
		name: "Name", typ: wire.TypeName, generate: rapid.Custom(aName).AsAny(),
		append: func(dst []byte, v any) []byte { return wire.AppendName(dst, v.(wire.Name)) },
		parse:  func(body []byte) (any, error) { return parsed(wire.ParseName(body)) },
		tail:   func(v any) (int, bool) { return len(v.(wire.Name).Name), true },
	},
	{
		name: "Reply", typ: wire.TypeReply, generate: rapid.Custom(aReply).AsAny(),
		append: func(dst []byte, v any) []byte {
			r := v.(wire.Reply)
			return wire.AppendReply(dst, &r)
		},
		parse: func(body []byte) (any, error) {
			var r wire.Reply
			err := wire.ParseReply(body, &r)
			return r, err
		},
		tail: func(v any) (int, bool) {
			r := v.(wire.Reply)
			return len(r.Payload), r.Name != ""
		},
	},
	{
		name: "End", typ: wire.TypeEnd, generate: rapid.Custom(anEnd).AsAny(),
		append: func(dst []byte, v any) []byte { return wire.AppendEnd(dst, v.(wire.End)) },
		parse:  func(body []byte) (any, error) { return parsed(wire.ParseEnd(body)) },
	},
	control("Hello", wire.TypeHello, aHello),
	control("Welcome", wire.TypeWelcome, aWelcome),
	control("Refusal", wire.TypeRefusal, func(t *rapid.T) wire.Refusal {
		return wire.Refusal{Code: text(t), Message: text(t), RetryAfter: number(t)}
	}),
	control("Subscribe", wire.TypeSubscribe, aSubscribe),
	control("Subscribed", wire.TypeSubscribed, aSubscribed),
	control("Leave", wire.TypeLeave, func(t *rapid.T) wire.Leave {
		return wire.Leave(aSubscribed(t))
	}),
	control("Ask", wire.TypeAsk, func(t *rapid.T) wire.Ask {
		return wire.Ask{ID: number(t), Event: text(t), HasTo: yesNo(t), To: texts(t),
			Except: texts(t)}
	}),
	control("Answer", wire.TypeAnswer, func(t *rapid.T) wire.Answer {
		return wire.Answer{ID: number(t), Count: number(t)}
	}),
	control("Peer", wire.TypePeer, func(t *rapid.T) wire.Peer {
		return wire.Peer{Name: text(t), Events: texts(t), Gone: yesNo(t)}
	}),
	control("Forget", wire.TypeForget, func(t *rapid.T) wire.Forget {
		return wire.Forget{Event: text(t), Key: text(t)}
	}),
	control("Held", wire.TypeHeld, func(t *rapid.T) wire.Held {
		return wire.Held{Number: number(t), Publishers: texts(t), Alone: numbers(t)}
	}),
	control("Goodbye", wire.TypeGoodbye, func(t *rapid.T) wire.Goodbye {
		return wire.Goodbye{Code: text(t), Message: text(t)}
	}),
}

// control is a message that is a CBOR map.
func control[T any](name string, typ wire.Type, generate func(*rapid.T) T) message {
	return message{
		name: name, typ: typ, keys: true, generate: rapid.Custom(generate).AsAny(),
		append: func(dst []byte, v any) []byte { return wire.AppendControl(dst, typ, v) },
		parse: func(body []byte) (any, error) {
			var v T
			err := wire.ParseControl(body, &v)
			return v, err
		},
	}
}

func parsed[T any](v T, err error) (any, error) { return v, err }

func number(t *rapid.T) uint64 { return rapid.Uint64().Draw(t, "number") }
func yesNo(t *rapid.T) bool    { return rapid.Bool().Draw(t, "yes") }
func text(t *rapid.T) string   { return rapid.StringN(0, -1, 64).Draw(t, "text") }

// texts is nil when there are none, as it arrives.
func texts(t *rapid.T) []string {
	if list := rapid.SliceOfN(rapid.StringN(0, -1, 40), 0, 4).Draw(t, "texts"); len(list) > 0 {
		return list
	}
	return nil
}

// numbers is nil when there are none, as it arrives.
func numbers(t *rapid.T) []uint64 {
	if list := rapid.SliceOfN(rapid.Uint64(), 0, 4).Draw(t, "numbers"); len(list) > 0 {
		return list
	}
	return nil
}

// raw is a string of any bytes: names in binary frames are not looked at.
func raw(t *rapid.T) string {
	return string(rapid.SliceOfN(rapid.Byte(), 0, 40).Draw(t, "bytes"))
}

func raws(t *rapid.T) []string {
	return rapid.SliceOfN(rapid.Custom(raw), 0, 4).Draw(t, "strings")
}

func payload(t *rapid.T) []byte { return rapid.SliceOfN(rapid.Byte(), 0, 60).Draw(t, "payload") }

// secret is nil when there is none, as it arrives.
func secret(t *rapid.T) []byte {
	if b := rapid.SliceOfN(rapid.Byte(), 0, 16).Draw(t, "secret"); len(b) > 0 {
		return b
	}
	return nil
}

// allFlags is one more than the highest combination of flags: each flag in turn is accepted.
func allFlags() (flags wire.EventFlags) {
	for bit := wire.EventFlags(1); bit != 0; bit <<= 1 {
		var e wire.Event
		body := wire.AppendEvent(nil, &wire.Event{Flags: bit})[wire.FrameHeader:]
		if wire.ParseEvent(body, &e) == nil {
			flags |= bit
		}
	}
	return flags
}

func anEvent(t *rapid.T) wire.Event {
	e := wire.Event{
		Flags: wire.EventFlags(number(t)) & allFlags(),
		Name:  number(t), Slot: number(t), Payload: payload(t),
	}
	for _, optional := range []struct {
		flag wire.EventFlags
		fill func()
	}{
		{wire.FlagOrigin, func() { e.Origin = number(t) }},
		{wire.FlagTo, func() { e.To = raws(t) }},
		{wire.FlagExcept, func() { e.Except = raws(t) }},
		{wire.FlagRequest, func() {
			e.Call, e.Remaining, e.Wanted = number(t), number(t), number(t)
		}},
		{wire.FlagTarget, func() { e.Target = number(t) }},
		{wire.FlagMissed, func() { e.Missed = number(t) }},
		{wire.FlagKey, func() { e.Key = raw(t) }},
		{wire.FlagCodec, func() { e.Codec = number(t) }},
	} {
		if e.Flags&optional.flag != 0 {
			optional.fill()
		}
	}
	return e
}

func aName(t *rapid.T) wire.Name {
	name := rapid.SliceOfN(rapid.Byte(), 0, wire.MaxName).Draw(t, "name")
	return wire.Name{Number: number(t), Name: string(name)}
}

func aReply(t *rapid.T) wire.Reply {
	r := wire.Reply{Call: number(t), Final: yesNo(t), Origin: raw(t)}
	if r.Name = raw(t); r.Name != "" {
		r.Payload = payload(t)
		return r
	}
	r.Gone, r.Code, r.Message = yesNo(t), raw(t), raw(t)
	return r
}

func anEnd(t *rapid.T) wire.End {
	return wire.End{Call: number(t), Origin: raw(t), Code: raw(t), Message: raw(t)}
}

func aHello(t *rapid.T) wire.Hello {
	return wire.Hello{
		MinVersion: number(t), MaxVersion: number(t), Features: texts(t), Name: text(t),
		Incarnation: secret(t), Session: secret(t), Token: secret(t), Attempt: number(t),
		Received: number(t), MaxFrame: number(t), Heartbeat: number(t), Credentials: secret(t),
		Extension: secret(t),
	}
}

func aWelcome(t *rapid.T) wire.Welcome {
	return wire.Welcome{
		Version: number(t), Features: texts(t), Name: text(t), Incarnation: secret(t),
		Session: secret(t), Token: secret(t), Resumed: yesNo(t), Received: number(t),
		MaxFrame: number(t), Lag: number(t), Heartbeat: number(t), ResumeWindow: number(t),
		Permissions: secret(t), Extension: secret(t), Stall: number(t),
	}
}

func aSubscribe(t *rapid.T) wire.Subscribe {
	return wire.Subscribe{
		ID: number(t), Event: text(t), From: texts(t), Observe: yesNo(t), DropOldest: yesNo(t),
		Retained: yesNo(t), Group: text(t), Room: number(t), Response: text(t), Source: text(t),
	}
}

func aSubscribed(t *rapid.T) wire.Subscribed {
	return wire.Subscribed{ID: number(t), Code: text(t), Message: text(t)}
}

// bodyOf returns the body of the one frame that m makes of v.
func bodyOf(tb rapid.TB, m *message, v any) []byte {
	data := m.append([]byte("before"), v)[len("before"):]
	f, rest, err := wire.Next(data, len(data))
	if err != nil || f.Type != m.typ || len(rest) > 0 {
		tb.Fatalf("%s: %+v becomes % x: %v", m.name, v, data, err)
	}
	return f.Body
}

// arrives requires that v is the same after it was sent, that no part of it passes for the whole,
// and that nothing may follow it.
func arrives(tb rapid.TB, m *message, v any) {
	body := bodyOf(tb, m, v)
	got, err := m.parse(body)
	if err != nil || !reflect.DeepEqual(got, v) {
		tb.Fatalf("sent     %#v\nreceived %#v: %v", v, got, err)
	}
	tail, open := 0, false
	if m.tail != nil {
		tail, open = m.tail(v)
	}
	for cut := range len(body) - tail {
		if got, err := m.parse(body[:cut]); err == nil {
			tb.Fatalf("cut to %d of %d bytes, %#v arrives as %#v", cut, len(body), v, got)
		}
	}
	if got, err := m.parse(append(body, 0)); err == nil && !open {
		tb.Fatalf("with a byte more, %#v arrives as %#v", v, got)
	}
}

// understood requires that what is understood of body is all that is said: written and read again
// it is the same. It is not longer either, but for keys that were left out.
func understood(tb rapid.TB, m *message, body []byte) {
	v, err := m.parse(body)
	if err != nil {
		return
	}
	again := bodyOf(tb, m, v)
	if !m.keys && len(again) > len(body) {
		tb.Fatalf("%s: % x\nbecomes % x", m.name, body, again)
	}
	got, err := m.parse(again)
	same := reflect.DeepEqual(got, v)
	if m.keys { // where nothing and an empty list are both left out
		same = bytes.Equal(bodyOf(tb, m, got), again)
	}
	if err != nil || !same {
		tb.Fatalf("%s: % x\nbecomes % x\nwas %#v\nis  %#v: %v", m.name, body, again, v, got, err)
	}
}

func messagesProperty(t *rapid.T) {
	m := &messages[rapid.IntRange(0, len(messages)-1).Draw(t, "kind")]
	arrives(t, m, m.generate.Draw(t, m.name))
}

// damaged is nearly the body of a message.
func damaged(t *rapid.T, m *message) []byte {
	body := bodyOf(t, m, m.generate.Draw(t, m.name))
	for range rapid.IntRange(0, 4).Draw(t, "changes") {
		at := rapid.IntRange(0, max(0, len(body)-1)).Draw(t, "at")
		more := rapid.SliceOfN(rapid.Byte(), 0, 12).Draw(t, "more")
		less := min(rapid.IntRange(0, 12).Draw(t, "less"), len(body)-at)
		body = append(append(append([]byte(nil), body[:at]...), more...), body[at+less:]...)
	}
	return body
}

func damageProperty(t *rapid.T) {
	m := &messages[rapid.IntRange(0, len(messages)-1).Draw(t, "kind")]
	understood(t, m, damaged(t, m))
}

func TestMessagesProperty(t *testing.T) { rapid.Check(t, messagesProperty) }
func TestDamageProperty(t *testing.T)   { rapid.Check(t, damageProperty) }

func FuzzMessagesProperty(f *testing.F) {
	addSeeds(f)
	f.Fuzz(rapid.MakeFuzz(messagesProperty))
}

func FuzzDamageProperty(f *testing.F) {
	addSeeds(f)
	f.Fuzz(rapid.MakeFuzz(damageProperty))
}

// addSeeds adds bytes from which properties draw: the same ones each time.
func addSeeds(f *testing.F) {
	source := rand.NewChaCha8([32]byte{})
	for size := 256; size <= 4096; size *= 2 {
		seed := make([]byte, size)
		source.Read(seed) // never fails
		f.Add(seed)
	}
}

// bodyTarget reads any bytes as the body of each kind of frame; the first of them says of which, to
// have it found that a change of the others matters.
func bodyTarget(tb rapid.TB) fuzzing.Target {
	plain := byte(len(messages))
	seeds := [][]byte{{plain, 1, 2, 3}, {plain + 1, 0, 3, 9, 1}}
	for i := range messages {
		for seed := range 4 {
			body := bodyOf(tb, &messages[i], messages[i].generate.Example(seed))
			seeds = append(seeds, append([]byte{byte(i)}, body...))
		}
	}
	return fuzzing.Target{Name: "FuzzBody", Part: 260, Seeds: seeds, Run: anyBody}
}

func anyBody(t rapid.TB, data []byte) {
	if len(data) == 0 {
		return
	}
	kind, body := int(data[0])%(len(messages)+2), data[1:]
	switch kind {
	case len(messages):
		understoodNumbers(t, body)
	case len(messages) + 1:
		understoodSlots(t, body)
	default:
		understood(t, &messages[kind], body)
	}
}

func FuzzBody(f *testing.F) { bodyTarget(f).Fuzz(f) }

func TestArbitraryBodyProperty(t *testing.T) { bodyTarget(t).Check(t) }

// understoodNumbers reads any bytes as the numbers of a Window, a Confirm and the like.
func understoodNumbers(tb rapid.TB, body []byte) {
	for n := range 4 {
		got, again := make([]uint64, n), make([]uint64, n)
		places, second := make([]*uint64, n), make([]*uint64, n)
		for i := range got {
			places[i], second[i] = &got[i], &again[i]
		}
		if wire.Uvarints(body, places...) != nil {
			continue
		}
		f, _, err := wire.Next(wire.AppendUvarints(nil, wire.TypeWindow, got...), 1024)
		if err == nil {
			err = wire.Uvarints(f.Body, second...)
		}
		if err != nil || !reflect.DeepEqual(got, again) {
			tb.Fatalf("% x: %d becomes %d: %v", body, got, again, err)
		}
	}
}

// understoodSlots reads any bytes as a report of slots below a limit.
func understoodSlots(tb rapid.TB, body []byte) {
	const limit = 1 << 12
	var all wire.Ranges
	count := 0
	err := wire.ParseTaken(body, limit, func(slot uint64) error {
		if slot >= limit {
			tb.Fatalf("% x: slot %d, where %d is the limit", body, slot, limit)
		}
		all.Add(slot)
		if count++; count > limit { // whoever keeps slots would say so
			return errors.New("a slot twice")
		}
		return nil
	})
	if all.Len() != count || err == nil && count == 0 && len(body) > 0 {
		tb.Fatalf("% x: %d slots, and %d are there: %v", body, count, all.Len(), err)
	}
}

func TestNumbersProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var body []byte
		for range rapid.IntRange(0, 5).Draw(t, "numbers") {
			v := rapid.OneOf(rapid.Uint64Range(0, 300), rapid.Uint64()).Draw(t, "number")
			body = binary.AppendUvarint(body, v)
		}
		body = append(body, rapid.SliceOfN(rapid.Byte(), 0, 3).Draw(t, "more")...)
		understoodNumbers(t, body)
		understoodSlots(t, body)
	})
}
