package wire_test

import (
	"bytes"
	"encoding/binary"
	"math"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/lahja-go/lahja/internal/fuzzing"
	"github.com/lahja-go/lahja/internal/wire"
)

// types are those of version 1, with what their two highest bits say of each.
var types = []struct {
	typ                 wire.Type
	numbered, ignorable bool
}{
	{wire.TypeName, true, false},
	{wire.TypeEvent, true, false},
	{wire.TypeTaken, true, false},
	{wire.TypeWindow, true, false},
	{wire.TypeWindowAck, true, false},
	{wire.TypeSubscribe, true, false},
	{wire.TypeSubscribed, true, false},
	{wire.TypeLeave, true, false},
	{wire.TypeRoom, true, false},
	{wire.TypeReply, true, false},
	{wire.TypeEnd, true, false},
	{wire.TypeCancel, true, false},
	{wire.TypeAsk, true, false},
	{wire.TypeAnswer, true, false},
	{wire.TypeWatch, true, false},
	{wire.TypePeer, true, false},
	{wire.TypePeers, true, false},
	{wire.TypeForget, true, false},
	{wire.TypeGoodbye, true, false},
	{wire.TypeHeld, true, false},
	{wire.TypeDrain, true, false},
	{wire.TypeReturn, true, false},
	{wire.TypeHello, false, false},
	{wire.TypeWelcome, false, false},
	{wire.TypeRefusal, false, false},
	{wire.TypeConfirm, false, false},
	{wire.TypePing, false, false},
	{wire.TypePong, false, false},
	{wire.TypeVoid, false, true},
	{0x00, true, false},
	{0x3f, true, false},
	{0x7f, false, false},
	{0x80, true, true},
	{0xbf, true, true},
	{0xff, false, true},
}

func TestTypes(t *testing.T) {
	for _, c := range types {
		if got := c.typ.Numbered(); got != c.numbered {
			t.Errorf("type %#02x: numbered %v", uint8(c.typ), got)
		}
		if got := c.typ.Ignorable(); got != c.ignorable {
			t.Errorf("type %#02x: ignorable %v", uint8(c.typ), got)
		}
	}
}

func TestNext(t *testing.T) {
	ext := func(n int) string { return string(binary.AppendUvarint(nil, uint64(n))) }
	long := strings.Repeat("x", 257)
	for _, c := range []struct {
		what, data string
		body, rest string
		err        string // a part of it; empty: none
	}{
		{"nothing in it", "\x02\x00\x00\x00\x00\x00", "", "", ""},
		{"a body", "\x02\x00\x00\x00\x00\x03abc", "abc", "", ""},
		{"followed by others", "\x02\x00\x00\x00\x00\x03abcdef", "abc", "def", ""},
		{"an extension", "\x02\x01\x00\x00\x00\x06\x02xyabc", "abc", "", ""},
		{"an extension alone", "\x02\x01\x00\x00\x00\x03\x02xy", "", "", ""},
		{"an empty extension", "\x02\x01\x00\x00\x00\x04\x00abc", "abc", "", ""},
		{"a long extension", "\x02\x01\x00\x00\x01\x03" + ext(256) + long, "x", "", ""},
		{"no bytes", "", "", "", "inside the head"},
		{"half a head", "\x02\x00\x00", "", "", "inside the head"},
		{"a head less a byte", "\x02\x00\x00\x00\x00", "", "", "inside the head"},
		{"a body less a byte", "\x02\x00\x00\x00\x00\x03ab", "", "", "inside a frame"},
		{"at the limit", "\x02\x00\x00\x00\x04\x00", "", "", "inside a frame"},
		{"over the limit", "\x02\x00\x00\x00\x04\x01", "", "", "1025 bytes, where 1024 are"},
		{"half the numbers", "\x02\x00\x80\x00\x00\x00", "", "", "2147483648 bytes"},
		{"all bits", "\x02\x00\xff\xff\xff\xff", "", "", "4294967295 bytes"},
		{"an unknown flag", "\x02\x02\x00\x00\x00\x00", "", "", "unknown flags 0x02"},
		{"all flags", "\x02\xff\x00\x00\x00\x00", "", "", "unknown flags 0xff"},
		{"no extension", "\x02\x01\x00\x00\x00\x00", "", "", "inside its extension"},
		{"half an extension", "\x02\x01\x00\x00\x00\x02\x02x", "", "", "inside its extension"},
		{"too long an extension", "\x02\x01\x00\x00\x01\x03" + ext(257) + long, "", "",
			"an extension of 257 bytes"},
		{"an extension of 2^64-1 bytes", "\x02\x01\x00\x00\x00\x0a" +
			"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "", "",
			"an extension of 18446744073709551615"},
		{"an extension of 2^64 bytes", "\x02\x01\x00\x00\x00\x0a" +
			"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x02", "", "", "inside its extension"},
	} {
		f, rest, err := wire.Next([]byte(c.data), 1024)
		switch {
		case c.err == "" && err != nil:
			t.Errorf("%s: %v", c.what, err)
		case c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)):
			t.Errorf("%s: %v", c.what, err)
		case err == nil && (f.Type != 2 || string(f.Body) != c.body || string(rest) != c.rest):
			t.Errorf("%s: type %#02x, body %q, rest %q", c.what, uint8(f.Type), f.Body, rest)
		}
	}
}

// What a receiver appends to a body must not run into the next frame.
func TestNextBodyEndsWhereItEnds(t *testing.T) {
	for _, data := range []string{
		"\x02\x00\x00\x00\x00\x03abcdef",
		"\x02\x01\x00\x00\x00\x05\x01xabcdef",
	} {
		f, rest, err := wire.Next([]byte(data), 1024)
		if err != nil {
			t.Fatal(err)
		}
		_ = append(f.Body, "overwritten"...)
		if string(rest) != "def" {
			t.Errorf("the rest is %q", rest)
		}
	}
}

// frames takes data apart and requires that the frames, put together again, are what was read.
func frames(tb rapid.TB, data []byte, limit int) {
	for len(data) > 0 {
		f, rest, err := wire.Next(data, limit)
		if err != nil {
			return
		}
		if len(f.Body) > limit {
			tb.Fatalf("a body of %d bytes", len(f.Body))
		}
		taken := data[:len(data)-len(rest)]
		if again := wire.Append(nil, f.Type, f.Body); taken[1] == 0 && !bytes.Equal(again, taken) {
			tb.Fatalf("read from % x\nwritten % x", taken, again)
		}
		data = rest
	}
}

// Frames of any kind arrive in their order, and a record that is cut anywhere gives an error for
// the frame that is not whole.
func framesProperty(t *rapid.T) {
	type frame struct {
		Type byte
		Body []byte
	}
	want := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) frame {
		return frame{rapid.Byte().Draw(t, "type"),
			rapid.SliceOfN(rapid.Byte(), 0, 50).Draw(t, "body")}
	}), 1, 8).Draw(t, "frames")
	var data []byte
	var ends []int
	for _, f := range want {
		data = wire.Append(data, wire.Type(f.Type), f.Body)
		ends = append(ends, len(data))
	}
	for cut := range len(data) + 1 {
		rest := data[:cut]
		for i, f := range want {
			got, after, err := wire.Next(rest, 50)
			if ends[i] > cut {
				if err == nil {
					t.Fatalf("cut to %d of %d bytes: no error", cut, len(data))
				}
				break
			}
			if err != nil || byte(got.Type) != f.Type || !bytes.Equal(got.Body, f.Body) {
				t.Fatalf("%+v, sent %+v: %v", got, f, err)
			}
			rest = after
		}
	}
}

func TestFramesProperty(t *testing.T) { rapid.Check(t, framesProperty) }

func FuzzFramesProperty(f *testing.F) {
	addSeeds(f)
	f.Fuzz(rapid.MakeFuzz(framesProperty))
}

// framesTarget reads any bytes as frames.
func framesTarget() fuzzing.Target {
	seeds := [][]byte{
		[]byte("\x02\x00\x00\x00\x00\x03abcdef"),
		[]byte("\x02\x01\x00\x00\x00\x06\x02xyabc\xc0\x00\x00\x00\x00\x00"),
	}
	for _, record := range recorded() {
		seeds = append(seeds, record[wire.HeaderSize:])
	}
	return fuzzing.Target{Name: "FuzzFrames", Part: 260, Seeds: seeds,
		Run: func(t rapid.TB, data []byte) { frames(t, data, 1<<12) }}
}

func FuzzFrames(f *testing.F) { framesTarget().Fuzz(f) }

func TestArbitraryFramesProperty(t *testing.T) { framesTarget().Check(t) }

// A body of integers is exactly those: not one less, and nothing behind them.
func uvarintsProperty(t *rapid.T) {
	want := rapid.SliceOfN(rapid.Uint64(), 0, 5).Draw(t, "numbers")
	f, _, err := wire.Next(wire.AppendUvarints(nil, wire.TypeWindow, want...), 1024)
	if err != nil || f.Type != wire.TypeWindow {
		t.Fatalf("%+v: %v", f, err)
	}
	got := make([]uint64, len(want))
	places := make([]*uint64, len(want))
	for i := range got {
		places[i] = &got[i]
	}
	if err := wire.Uvarints(f.Body, places...); err != nil {
		t.Fatal(err)
	}
	for i := range got {
		if got[i] != want[i] {
			t.Fatalf("%d, sent %d", got, want)
		}
	}
	for cut := range f.Body {
		if err := wire.Uvarints(f.Body[:cut], places...); err == nil {
			t.Fatalf("cut to %d of %d bytes: no error", cut, len(f.Body))
		}
	}
	if err := wire.Uvarints(append(f.Body, 0), places...); err == nil {
		t.Fatal("a byte too many: no error")
	}
}

func TestUvarintsProperty(t *testing.T) { rapid.Check(t, uvarintsProperty) }

func FuzzUvarintsProperty(f *testing.F) {
	addSeeds(f)
	f.Fuzz(rapid.MakeFuzz(uvarintsProperty))
}

func TestUvarints(t *testing.T) {
	for _, c := range []struct {
		body string
		want uint64
		ok   bool
	}{
		{"\x00", 0, true},
		{"\x7f", 127, true},
		{"\x80\x01", 128, true},
		{"\x80\x00", 0, true}, // longer than need be, and still 0
		{"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", math.MaxUint64, true},
		{"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x02", 0, false},     // 2^64
		{"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x00", 0, false}, // eleven bytes
		{"\x80", 0, false},
		{"", 0, false},
	} {
		var got uint64
		err := wire.Uvarints([]byte(c.body), &got)
		if (err == nil) != c.ok || c.ok && got != c.want {
			t.Errorf("% x: %d, %v", c.body, got, err)
		}
	}
}
