package lahja_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"github.com/lahja-go/lahja"
	"github.com/lahja-go/lahja/internal/wire"
)

// rich is an event with fields of every kind that a stranger can fill.
type rich struct {
	N     int
	Text  string
	Bytes []byte
	List  []fat
	Map   map[string]fat
	Next  *rich
}

// fat takes a kibibyte of memory, and a byte of CBOR.
type fat struct{ Numbers [128]uint64 }

// item of CBOR that is wrong as a control message and as an event.
type junk struct {
	number int
	throws string
	data   []byte
	fits   string // it is no mistake: "control", "payload" or "both"
}

func (j *junk) wrong(as string) bool { return j.fits != as && j.fits != "both" }

// field is a map with one unknown key, whose value is data.
func field(data ...[]byte) []byte { return append([]byte("\xa1\x63any"), bytes.Join(data, nil)...) }

func hexed(s string) []byte {
	var data []byte
	if _, err := fmt.Sscanf(strings.ReplaceAll(s, " ", ""), "%x", &data); err != nil {
		panic(err)
	}
	return data
}

func many(s string, n int) []byte { return bytes.Repeat(hexed(s), n) }

// junks are what CBOR can have that it should not.
func junks() []junk {
	return []junk{
		{41, "an array of more elements than there are bytes", hexed("9b 000042fa42fa42fa 42"), ""},
		{41, "an array of 2^32-1 elements", hexed("9a ffffffff"), ""},
		{41, "bytes of length 2^63-1", field(hexed("5b 7fffffffffffffff")), ""},
		{41, "a map of 2^64-1 pairs", hexed("bb ffffffffffffffff"), ""},
		{42, "33 arrays in one another", field(many("81", 33), hexed("00")), ""},
		{42, "nine arrays in one another", field(many("81", 9), hexed("00")), "payload"},
		{42, "a hundred thousand arrays in one another", field(many("81", 100_000), hexed("00")),
			""},
		{42, "a hundred thousand maps in one another", field(many("a101", 100_000), hexed("00")),
			""},
		{42, "a hundred thousand tags in one another", field(many("c1", 100_000), hexed("00")), ""},
		{43, "arrays in one another that each claim all bytes that are left", claims(1000), ""},
		{44, "131072 nulls for large elements", append([]byte("\xa1\x64List\x9a\x00\x02\x00\x00"),
			many("f6", 131072)...), ""},
		{45, "an array of unknown length", field(hexed("9f 00 ff")), ""},
		{45, "a map of unknown length that does not end", hexed("bf 6141 01"), ""},
		{45, "a break that ends nothing", field(hexed("ff")), ""},
		{46, "a key twice", hexed("a2 01 00 01 00"), ""},
		{46, "a name twice, in two spellings", hexed("a2 614e 01 616e 02"), "both"},
		{47, "text that is not UTF-8", hexed("a1 64 54657874 61 ff"), "both"},
		{48, "a big number of 16 KiB",
			append([]byte("\xa1\x61N\xc2\x59\x40\x00"), make([]byte, 16<<10)...), ""},
		{49, "NaN for a key", hexed("a1 f97e00 00"), ""},
		{50, "an array for a key", hexed("a1 80 00"), ""},
		{50, "a map for a key", hexed("a1 a0 00"), ""},
		{51, "two items", hexed("a0 a0"), ""},
		{51, "a byte after the item", hexed("a0 00"), ""},
		{52, "half a map", hexed("a2 614e 01 61"), ""},
		{52, "no item at all", nil, ""},
		{53, "reserved additional information", hexed("a1 614e 1c"), ""},
		{53, "a simple value of two bytes that is reserved", hexed("a1 614e f818"), ""},
		{53, "undefined for a value", hexed("a1 614e f7"), ""},
		{54, "a number where a map is due", hexed("01"), ""},
		{54, "a negative number where a map is due", hexed("20"), ""},
		{54, "bytes where a map is due", hexed("41 61"), ""},
		{54, "text where a map is due", hexed("61 61"), ""},
		{54, "an array where a map is due", hexed("81 01"), ""},
		{54, "a tag where a map is due", hexed("c1 a0"), ""},
		{54, "a truth where a map is due", hexed("f5"), ""},
		{54, "a float where a map is due", hexed("fb 3ff0000000000000"), ""},
		{54, "a negative number, and text where a number is due", hexed("a2 01 20 614e 6161"), ""},
	}
}

// controlRows throw each item as a control message.
func controlRows() (all []row) {
	for _, j := range junks() {
		r := row{number: j.number, throws: j.throws + ", in a control message",
			at: open, content: true}
		r.throw = func(x *attack) {
			if x.against == "bus" {
				x.body(wire.Append(nil, wire.TypeForget, j.data))
			} else {
				x.body(wire.Append(nil, wire.TypeAnswer, j.data))
			}
			x.position++
		}
		if j.wrong("control") {
			r.ends = fouled
		}
		all = append(all, r)
		r.throws, r.at = j.throws+", in the handshake", fresh
		r.throw = func(x *attack) {
			kind := wire.TypeHello
			if x.against == "endpoint" {
				kind = wire.TypeWelcome
			}
			x.body(wire.Append(nil, kind, j.data))
		}
		r.ends = fouled // none of them has a version
		all = append(all, r)
	}
	return all
}

// payloadRows throw each item as an event: the subscription ends, with an error that says why, and
// the connection goes on.
func payloadRows() (all []row) {
	for _, j := range junks() {
		r := row{number: j.number, throws: j.throws + ", in an event", at: open, content: true}
		r.throw = func(x *attack) {
			why := make(chan error, 1)
			heard := subscribed[rich](x, lahja.OnEnd(func(err error) { why <- err }))
			x.record(x.event(wire.Event{Name: heardAs, Slot: 8, Payload: j.data}))
			if !j.wrong("payload") {
				take(x.stage, heard)
				return
			}
			if err := take(x.stage, why); !errors.Is(err, fouled) {
				x.Errorf("the subscription ends with %v", err)
			}
			if x.against == "endpoint" {
				x.await(wire.TypeLeave)
			}
		}
		all = append(all, r)
	}
	return append(all, row{number: 55, throws: "an event that nobody knows", at: open,
		throw: func(x *attack) {
			x.record(wire.AppendName(nil, wire.Name{Number: 93, Name: "no.such/event.v9"}))
			x.record(x.event(wire.Event{Name: 93, Payload: unset}))
		}}, row{number: 56, at: open,
		throws: "text of 65,535, 65,536 and nearly a mebibyte, which arrives as it was",
		throw: func(x *attack) {
			heard := subscribed[rich](x)
			for i, n := range []int{65535, 65536, wire.MaxFrame - 8<<10} {
				text := strings.Repeat("t", n)
				data := binary.BigEndian.AppendUint32([]byte("\xa1\x64Text\x7a"), uint32(n))
				data = append(data, text...)
				x.record(x.event(wire.Event{Name: heardAs, Slot: uint64(i), Payload: data}))
				if ev := take(x.stage, heard); ev.Value.Text != text {
					x.Errorf("text of %d bytes has come as %d", n, len(ev.Value.Text))
				}
			}
			for range 200 {
				x.alive() // until the buffers are small again
			}
		}})
}

// claims are arrays in one another, each of as many elements as there are bytes left.
func claims(n int) (data []byte) {
	for len(data)+5 <= n {
		left := n - len(data) - 5
		data = append(data, 0x9a, byte(left>>24), byte(left>>16), byte(left>>8), byte(left))
	}
	return append(data, make([]byte, n-len(data))...)
}
