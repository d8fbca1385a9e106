package lahja_test

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/lahja-go/lahja"
	"github.com/lahja-go/lahja/internal/wire"
	"github.com/lahja-go/lahja/transports/tcp"
)

// says writes bytes as they are.
func says(data []byte) func(*attack) { return func(x *attack) { x.write(data) } }

// frames sends a record with any body.
func frames(body ...[]byte) func(*attack) {
	return func(x *attack) { x.body(bytes.Join(body, nil)) }
}

// stating sends the head of a record with a body of that length, and no body.
func stating(length uint32) func(*attack) {
	return func(x *attack) { x.write(append(x.start(), headOf(length, x.position)...)) }
}

// then ends what x says after something was thrown, as one does who crashes.
func then(throw func(*attack)) func(*attack) {
	return func(x *attack) {
		throw(x)
		x.conn.Close()
	}
}

// longestRecord is the longest body of a record in a session.
const longestRecord = wire.RecordBody + wire.MaxFrame

// lying is a frame of a type that states a length, and has another.
func lying(t wire.Type, states uint32, has int) []byte {
	frame := wire.Append(nil, t, make([]byte, has))
	frame[2], frame[3] = byte(states>>24), byte(states>>16)
	frame[4], frame[5] = byte(states>>8), byte(states)
	return frame
}

// flagged is a frame with flags.
func flagged(t wire.Type, flags byte, body ...byte) []byte {
	frame := wire.Append(nil, t, body)
	frame[1] = flags
	return frame
}

// uvarints is a frame of numbers and what follows them.
func uvarints(t wire.Type, rest string, v ...uint64) []byte {
	start := wire.AppendUvarints(nil, t, v...)
	return wire.Finish(append(start, rest...), 0)
}

var framingRows = []row{
	{number: 1, throws: "a record of no bytes, first of all", at: fresh, throw: stating(0),
		ends: fouled},
	{number: 1, throws: "a record of no bytes", at: open, throw: stating(0), ends: fouled},
	{number: 1, throws: "frames of no bytes where bytes are needed", at: open, ends: fouled,
		throw: frames(wire.Append(nil, wire.TypeEvent, nil))},
	{number: 2, throws: "a first record longer than a handshake may be", at: fresh, ends: fouled,
		throw: stating(wire.MaxHandshake + 1)},
	{number: 2, throws: "a first record of 2^31-1 bytes", at: fresh, throw: stating(1<<31 - 1),
		ends: fouled},
	{number: 2, throws: "a first record of 2^32-1 bytes", at: fresh, throw: stating(1<<32 - 1),
		ends: fouled},
	{number: 2, throws: "a record of one byte too many", at: open,
		throw: stating(longestRecord + 1), ends: fouled},
	{number: 2, throws: "a record of 2^31-1 bytes", at: open, throw: stating(1<<31 - 1),
		ends: fouled},
	{number: 2, throws: "a record of 2^31 bytes", at: open, throw: stating(1 << 31), ends: fouled},
	{number: 2, throws: "a record of 2^32-1 bytes", at: open, throw: stating(1<<32 - 1),
		ends: fouled},
	{number: 2, throws: "a frame of one byte too many", at: open, ends: fouled,
		throw: frames(lying(wire.TypeVoid, wire.MaxFrame+1, 1))},
	{number: 2, throws: "a frame of 2^31 bytes", at: open,
		throw: frames(lying(wire.TypeVoid, 1<<31, 1)), ends: fouled},
	{number: 2, throws: "a frame of 2^32-1 bytes", at: open,
		throw: frames(lying(wire.TypeVoid, 1<<32-1, 1)), ends: fouled},
	{number: 2, throws: "a reply whose text has 2^63-1 bytes", at: open, ends: fouled,
		throw: frames(uvarints(wire.TypeReply, "x", 1, 3, 1<<63-1))},
	{number: 2, throws: "a refused request whose text has 2^64-1 bytes", at: open, ends: fouled,
		throw: frames(uvarints(wire.TypeEnd, "x", 1, 1<<64-1))},
	{number: 2, throws: "an event for 2^64-1 endpoints", at: open, ends: fouled, only: "bus",
		throw: frames(uvarints(wire.TypeEvent, "x", uint64(wire.FlagTo), tick, 0, 1<<64-1))},
	{number: 2, throws: "an event for 2^31 endpoints", at: open, ends: fouled, only: "bus",
		throw: frames(uvarints(wire.TypeEvent, "x", uint64(wire.FlagTo), tick, 0, 1<<31))},
	{number: 2, throws: "an event with a key of 2^63 bytes", at: open, ends: fouled, only: "bus",
		throw: frames(uvarints(wire.TypeEvent,
			"x", uint64(wire.FlagKey|wire.FlagRetain), tick, 0, 1<<63))},
	{number: 2, throws: "a report of 2^64-1 events that were taken", at: open, ends: fouled,
		throw: frames(wire.AppendUvarints(nil, wire.TypeTaken, 0, 1<<64-1))},

	{number: 3, throws: "the head of the longest first record, and no body", at: fresh,
		throw: stating(wire.MaxHandshake), hurry: true, ends: fouled,
		endpointEnds: context.DeadlineExceeded},
	{number: 3, throws: "the head of the longest record, no body, and the end", at: open,
		throw: func(x *attack) {
			before := x.weigh()
			stating(longestRecord)(x)
			x.undisturbed()
			if took := x.weigh() - before; took > 64<<10 {
				x.Errorf("a length alone takes %d bytes", took)
			}
			x.conn.Close()
		}, ends: severed},
	{number: 4, throws: "a first record of one byte too few, and the end", at: fresh, ends: fouled,
		endpointEnds: severed,
		throw:        then(func(x *attack) { x.write(x.handshake()[:x.short(1)]) })},
	{number: 4, throws: "a first record whose frame has a byte too few", at: fresh, ends: fouled,
		throw: frames(lying(wire.TypeHello, 9, 8))},
	{number: 4, throws: "a first record with a byte after its frame", at: fresh, ends: fouled,
		throw: func(x *attack) { x.body(append(x.greeting(), 0)) }},
	{number: 4, throws: "a record of one byte too few, and the end", at: open, ends: severed,
		throw: then(func(x *attack) {
			x.write(recordOf(wire.Append(nil, wire.TypePing, nil), x.position)[:wire.HeaderSize+5])
		})},
	{number: 4, throws: "a record and one byte, and the end", at: open, ends: severed,
		throw: then(func(x *attack) {
			x.write(append(recordOf(wire.Append(nil, wire.TypePing, nil), x.position), 0))
		})},
	{number: 4, throws: "a frame that says a byte less than it has", at: open, ends: fouled,
		throw: frames(lying(wire.TypeVoid, 8, 9))},
	{number: 4, throws: "a frame that says a byte more than it has", at: open, ends: fouled,
		throw: frames(lying(wire.TypeVoid, 10, 9))},
	{number: 4, throws: "numbers with a byte after them", at: open, ends: fouled,
		throw: frames(uvarints(wire.TypeCancel, "x", 1))},
	{number: 4, throws: "a number that does not end", at: open, ends: fouled,
		throw: frames(wire.Append(nil, wire.TypeCancel, []byte{0x80}))},
	{number: 4, throws: "a number of more than 64 bits", at: open, ends: fouled,
		throw: frames(wire.Append(nil, wire.TypeCancel, bytes.Repeat([]byte{0xff}, 11)))},
	{number: 5, throws: "a handshake that comes byte by byte, and too slowly", at: fresh,
		throw: slowly,
		hurry: true, ends: fouled, endpointEnds: context.DeadlineExceeded},
	{number: 5, throws: "frames that come byte by byte", at: open, throw: func(x *attack) {
		for _, b := range recordOf(wire.Append(nil, wire.TypeVoid, []byte("slow")), x.position) {
			x.write([]byte{b})
		}
	}},
	{number: 6, throws: "two records in one write", at: open, throw: func(x *attack) {
		x.write(append(ping(x), ping(x)...))
	}},
	{number: 6, throws: "two frames in one record, and the second is half", at: open, ends: fouled,
		throw: frames(wire.Append(nil, wire.TypePing, nil), wire.Append(nil,
			wire.TypePing, nil)[:3])},
	{number: 6, throws: "a record split at every offset", at: open, throw: func(x *attack) {
		for at := range len(ping(x)) {
			x.write(ping(x)[:at])
			x.write(ping(x)[at:])
			x.await(wire.TypePong)
		}
	}},

	{number: 7, throws: "an unknown frame that must be understood, 00", at: open, ends: fouled,
		throw: frames(wire.Append(nil, 0x00, nil))},
	{number: 7, throws: "every other unknown frame that must be understood, each in a session",
		at: open, throw: unknownFrames},
	{number: 7, throws: "every unknown frame that can be ignored", at: open,
		throw: func(x *attack) {
			for t := 0x80; t <= 0xff; t++ {
				x.record(wire.Append(nil, wire.Type(t), []byte("any")))
			}
		}},
	{number: 7, throws: "a frame with an unknown flag, 02", at: open, ends: fouled,
		throw: frames(flagged(wire.TypeVoid, 0x02))},
	{number: 7, throws: "a frame with an unknown flag, 80", at: open, ends: fouled,
		throw: frames(flagged(wire.TypeVoid, 0x80))},
	{number: 7, throws: "an event with an unknown flag", at: open, ends: fouled,
		throw: frames(uvarints(wire.TypeEvent, "", 1<<14, tick, 0))},
	{number: 7, throws: "an event with all flags", at: open, ends: fouled,
		throw: frames(uvarints(wire.TypeEvent, "", 1<<64-1, tick, 0))},
	{number: 7, throws: "a reply with an unknown flag", at: open, ends: fouled,
		throw: frames(uvarints(wire.TypeReply, "", 1, 8))},
	{number: 7, throws: "a watch of an unknown kind", at: open, ends: fouled, only: "bus",
		throw: frames(wire.AppendUvarints(nil, wire.TypeWatch, 2, 1))},
	{number: 7, throws: "a view of an unknown kind", at: open, ends: fouled, only: "endpoint",
		throw: frames(wire.AppendUvarints(nil, wire.TypePeers, 2, 2))},
	{number: 7, throws: "a version that does not exist", at: fresh, ends: fouled,
		throw: func(x *attack) {
			hello, answer := helloOf(x.name), welcome()
			hello.MinVersion, hello.MaxVersion, answer.Version = 2, 1<<64-1, 2
			x.introduce(hello, answer)
		}},

	{number: 8, throws: "a second hello", at: open, ends: fouled,
		throw: frames(wire.AppendControl(nil, wire.TypeHello, helloOf("other")))},
	{number: 8, throws: "a second welcome", at: open, ends: fouled,
		throw: frames(wire.AppendControl(nil, wire.TypeWelcome, welcome()))},
	{number: 8, throws: "a refusal in a session", at: open, ends: fouled,
		throw: frames(wire.AppendControl(nil, wire.TypeRefusal, wire.Refusal{}))},
	{number: 8, throws: "an event before the handshake", at: fresh, ends: fouled,
		throw: frames(wire.AppendEvent(nil, &wire.Event{Name: tick}))},
	{number: 8, throws: "a ping before the handshake", at: fresh, ends: fouled,
		throw: frames(wire.Append(nil, wire.TypePing, nil))},
	{number: 8, throws: "two frames for a handshake", at: fresh, ends: fouled,
		throw: func(x *attack) {
			x.body(wire.Append(x.greeting(), wire.TypePing, nil))
		}},
	{number: 8, throws: "an event after the goodbye", at: open, ends: errInOrder, throw: frames(
		wire.AppendControl(nil, wire.TypeGoodbye, wire.Goodbye{}),
		wire.AppendEvent(nil, &wire.Event{Name: tick}))},
	{number: 8, throws: "two goodbyes", at: open, ends: errInOrder, throw: frames(
		wire.AppendControl(nil, wire.TypeGoodbye, wire.Goodbye{}),
		wire.AppendControl(nil, wire.TypeGoodbye, wire.Goodbye{}))},
	{number: 9, throws: "what only the other side sends, each in a session of its own", at: open,
		throw: wrongSide},
	{number: 9, throws: "a hello from a bus, a welcome from an endpoint", at: fresh, ends: fouled,
		throw: func(x *attack) {
			x.said = true
			if x.against == "endpoint" {
				x.preface(wire.TypeHello, helloOf("bus"))
			} else {
				x.preface(wire.TypeWelcome, welcome())
			}
		}},

	{number: 10, throws: "a request of a browser", at: fresh, ends: fouled,
		throw: says([]byte("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"))},
	{number: 10, throws: "the banner of SSH", at: fresh, ends: fouled,
		throw: says([]byte("SSH-2.0-OpenSSH_9.6\r\n"))},
	{number: 10, throws: "the hello of TLS", at: fresh, ends: fouled,
		throw: says([]byte{0x16, 3, 1, 0, 200, 1, 0, 0, 196, 3, 3})},
	{number: 10, throws: "random bytes", at: fresh, ends: fouled,
		throw: func(x *attack) { x.write(noise(4096)) }},
	{number: 10, throws: "random bytes after the preface", at: fresh, ends: fouled,
		throw: func(x *attack) { x.write(append(x.start(), noise(4096)...)) }},
	{number: 10, throws: "random bytes in a session", at: open, ends: fouled,
		throw: func(x *attack) { x.write(noise(4096)) }},
	{number: 10, throws: "this protocol without TLS to one who wants TLS", at: fresh, over: "tls",
		only: "bus", throw: plainly},
	{number: 11, throws: "an extension of 257 bytes", at: open, ends: fouled,
		throw: frames(flagged(wire.TypeVoid, 1,
			append([]byte{0x81, 0x02}, make([]byte, 257)...)...))},
	{number: 11, throws: "an extension longer than its frame", at: open, ends: fouled,
		throw: frames(flagged(wire.TypeVoid, 1, 9, 1, 2))},
	{number: 11, throws: "a field of the handshake that nobody knows, of a mebibyte", at: fresh,
		ends: fouled,
		throw: func(x *attack) {
			x.body(wire.Append(nil, wire.TypeHello,
				append([]byte{0xa1, 0x18, 99, 0x5a, 0, 16, 0, 0},
					make([]byte, mebibyte)...)))
		}},
	{number: 11, throws: "a flood of frames that can be ignored, which cost nothing", at: open,
		throw: func(x *attack) {
			x.flood(bytes.Repeat(wire.Append(wire.Append(nil, 0x80, nil), 0xff, nil), 500), 100)
		}},
	{number: 11, throws: "a flood of pings, which few pongs answer", at: open,
		throw: func(x *attack) {
			x.flood(bytes.Repeat(wire.Append(nil, wire.TypePing, nil), 1000), 100)
		}},
	{number: 12, throws: "a session of which a bit was changed, again and again", at: fresh,
		throw: flipped,
		ends:  fouled},
}

// ping is a record with a ping.
func ping(x *attack) []byte { return recordOf(wire.Append(nil, wire.TypePing, nil), x.position) }

// noise are random bytes, the same in each run.
func noise(n int) []byte {
	data := make([]byte, n)
	rand.NewChaCha8([32]byte{6}).Read(data) // never fails
	return data
}

// greeting is the first frame that x has to say.
func (x *attack) greeting() []byte {
	if x.against == "bus" {
		return wire.AppendControl(nil, wire.TypeHello, helloOf(x.name))
	}
	return wire.AppendControl(nil, wire.TypeWelcome, welcome())
}

// handshake is all that x has to say first.
func (x *attack) handshake() []byte { return append(x.start(), recordOf(x.greeting(), 0)...) }

// short is how long the handshake is without its last bytes.
func (x *attack) short(by int) int {
	return len(wire.Preface) + wire.HeaderSize + len(x.greeting()) - by
}

// introduce says hello to a bus, and the answer to an endpoint.
func (x *attack) introduce(hello wire.Hello, answer wire.Welcome) {
	x.said = true
	if x.against == "bus" {
		x.preface(wire.TypeHello, hello)
	} else {
		x.preface(wire.TypeWelcome, answer)
	}
}

// flood sends records of the same frames.
func (x *attack) flood(frames []byte, records int) {
	for range records * min(scale(), 10) {
		x.record(frames)
	}
}

// slowly says a good handshake, so slowly that time is over before it is.
func slowly(x *attack) {
	all := x.handshake()
	pause := time.NewTicker(2 * hasty / time.Duration(len(all)))
	defer pause.Stop()
	for _, b := range all {
		if _, err := x.conn.Write([]byte{b}); err != nil {
			return
		}
		<-pause.C
	}
}

// wrongSide throws each frame that only the other side may send, over connections of their own.
func wrongSide(x *attack) {
	ours := map[string]string{"bus": "E", "endpoint": "B"}[x.against]
	for name, samples := range samplesOf("endpoint", x.theirs) {
		for _, sample := range samples {
			f, _, err := wire.Next(sample.frames, wire.MaxFrame)
			x.must(err)
			if sample.from == "" || sample.from == ours || f.Type == wire.TypeHello {
				continue
			}
			y := x.begin(x.against, open)
			y.record(sample.frames)
			if err := y.end(); !isFouled(err) {
				x.Errorf("%s: it ends with %v", name, err)
			}
			y.over()
		}
	}
}

func isFouled(err error) bool { return errors.Is(err, lahja.ErrProtocol) }

// unknownFrames throws each over a connection of its own; in the short form, some.
func unknownFrames(x *attack) {
	for t := wire.TypeReturn + 1; t <= 0x7f; t += wire.Type(max(1, 5/scale())) {
		if t >= 0x40 && t <= wire.TypePong {
			continue
		}
		y := x.begin(x.against, open)
		y.record(wire.Append(nil, t, nil))
		if err := y.end(); !isFouled(err) {
			x.Errorf("type %#02x: it ends with %v", uint8(t), err)
		}
		y.over()
	}
}

// plainly speaks to a place that wants TLS without it.
func plainly(x *attack) {
	conn, err := tcp.New(x.address).Dial(x.ctx)
	x.must(err)
	ended := take(x.stage, x.accepted)
	_, _ = conn.Write(x.handshake())
	if err := take(x.stage, ended); !isFouled(err) {
		x.Errorf("it ends with %v", err)
	}
	conn.Close()
}

// flipped says what a good stranger says, of which one bit is changed, over one connection after
// the other; none is taken for something else than a mistake or the end.
func flipped(x *attack) {
	all := x.handshake()
	body := wire.AppendName(nil, wire.Name{Number: tick, Name: "tick"})
	body = wire.AppendEvent(body, &wire.Event{Name: tick, Payload: []byte{0xa0}})
	all = append(all, recordOf(body, 0)...)
	step := 1 // all bits
	if scale() == 1 {
		step = 57 // one of every seventh byte, and each time the next
	}
	for bit := 0; bit < 8*len(all); bit += step {
		y := x.begin(x.against, fresh)
		said := bytes.Clone(all)
		said[bit/8] ^= 1 << (bit % 8)
		y.write(said)
		y.conn.Close()
		if err := y.end(); err == nil {
			x.Errorf("bit %d changed: it ends in order", bit)
		}
		y.over()
	}
	x.write(append(all[:0:0], 'X'))
	x.write(all)
}
