package wire_test

import (
	"encoding/binary"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/lahja-go/lahja/internal/fuzzing"
	"github.com/lahja-go/lahja/internal/wire"
)

// The fields that are present follow each other in the order of their flags.
func TestEventFields(t *testing.T) {
	e := wire.Event{
		Flags: 0x3fff, Name: 0x10, Slot: 0x11, Origin: 0x12,
		To: []string{"t", ""}, Except: []string{"e"},
		Call: 0x13, Remaining: 0x14, Wanted: 0x15, Target: 0x16, Missed: 0x17, Key: "k",
		Codec: 0x18, Payload: []byte("payload"),
	}
	want := "\x02\x00\x00\x00\x00\x1b" + // the head of the frame
		"\xff\x7f\x10\x11" + // flags, name, slot
		"\x12" + // origin
		"\x02\x01t\x00" + // to
		"\x01\x01e" + // except
		"\x13\x14\x15" + // call, remaining, wanted
		"\x16\x17" + // target, missed
		"\x01k" + // key
		"\x18" + // codec
		"payload"
	if got := string(wire.AppendEvent(nil, &e)); got != want {
		t.Errorf("got  % x\nwant % x", got, want)
	}
}

// A list of names says how many come, which is checked before there is memory for them; and none is
// longer than a name can be.
func TestListsOfNamesAreBounded(t *testing.T) {
	list := func(n, length int) []string {
		return slices.Repeat([]string{strings.Repeat("n", length)}, n)
	}
	for _, c := range []struct {
		names []string
		fits  bool
	}{
		{list(wire.MaxNames, wire.MaxName), true},
		{list(wire.MaxNames+1, 0), false},
		{list(1<<20-100, 0), false},
		{list(1, wire.MaxName+1), false},
	} {
		for _, e := range []wire.Event{
			{Flags: wire.FlagTo, To: c.names}, {Flags: wire.FlagExcept, Except: c.names},
		} {
			f, _, err := wire.Next(wire.AppendEvent(nil, &e), 2<<20)
			if err != nil {
				t.Fatal(err)
			}
			var got wire.Event
			if err := wire.ParseEvent(f.Body, &got); (err == nil) != c.fits {
				t.Errorf("%d names of %d bytes: %v", len(c.names), len(c.names[0]), err)
			}
			if n := len(got.To) + len(got.Except); !c.fits && n > 0 {
				t.Errorf("%d names were made of what is refused", n)
			}
		}
	}
}

func TestEventFlags(t *testing.T) {
	for i, flag := range []wire.EventFlags{
		wire.FlagPrompt, wire.FlagOrigin, wire.FlagTo, wire.FlagExcept, wire.FlagRequest,
		wire.FlagTarget, wire.FlagMissed, wire.FlagRetain, wire.FlagKey, wire.FlagRetained,
		wire.FlagGone, wire.FlagGap, wire.FlagCodec, wire.FlagGather,
	} {
		if flag != 1<<i {
			t.Errorf("flag %d is %#x", i, uint64(flag))
		}
	}
	if all := allFlags(); all != 0x3fff {
		t.Errorf("the flags that are known: %#x", uint64(all))
	}
}

// A field whose flag is not set is not sent, whatever it holds.
func TestEventWithoutFlags(t *testing.T) {
	e := wire.Event{
		Name: 1, Slot: 2, Origin: 3, To: []string{"a"}, Except: []string{"b"}, Call: 4,
		Remaining: 5, Wanted: 6, Target: 7, Missed: 8, Key: "c", Codec: 9,
	}
	want := "\x02\x00\x00\x00\x00\x03\x00\x01\x02"
	if got := string(wire.AppendEvent(nil, &e)); got != want {
		t.Errorf("got  % x\nwant % x", got, want)
	}
}

func TestRefused(t *testing.T) {
	for _, c := range []struct{ kind, what, body, err string }{
		{"Event", "no bytes", "", "an event ends too early"},
		{"Event", "an unknown flag", "\x80\x80\x01\x01\x01", "unknown flags 0x4000"},
		{"Event", "the highest flag", "\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01\x01\x01",
			"unknown flags 0x8000000000000000"},
		{"Event", "more names than bytes", "\x04\x01\x01\x05abcd", "too early"},
		{"Event", "2^64-1 names", "\x04\x01\x01\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
			"too early"},
		{"Event", "a name that ends early", "\x04\x01\x01\x01\x05abcd", "too early"},
		{"Event", "a name of 2^64-1 bytes",
			"\x04\x01\x01\x01\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "too early"},
		{"Event", "a number of more than 64 bits",
			"\x00\x80\x80\x80\x80\x80\x80\x80\x80\x80\x02\x01", "impossible number"},
		{"Name", "no bytes", "", "a name ends too early"},
		{"Name", "too long", "\x01" + strings.Repeat("x", 256), "a name of 256 bytes"},
		{"Reply", "an unknown flag", "\x01\x08\x00\x00\x00", "unknown flags 0x8"},
		{"Reply", "no type", "\x01\x00\x00\x00payload", "without the name of its type"},
		{"Reply", "no flags", "\x01", "too early"},
		{"Reply", "an error and more", "\x01\x02\x00\x00\x00x", "a reply has 1 bytes too many"},
		{"End", "more", "\x01\x00\x00\x00x", "has 1 bytes too many"},
	} {
		m := kind(c.kind)
		if v, err := m.parse([]byte(c.body)); err == nil || !strings.Contains(err.Error(), c.err) {
			t.Errorf("%s, %s: %+v, %v", c.kind, c.what, v, err)
		}
	}
}

func kind(name string) *message {
	i := slices.IndexFunc(messages, func(m message) bool { return m.name == name })
	return &messages[i]
}

// takenAll collects the slots of a report.
func takenAll(body []byte, limit uint64) (slots []uint64, err error) {
	err = wire.ParseTaken(body, limit, func(slot uint64) error {
		slots = append(slots, slot)
		return nil
	})
	return slots, err
}

// What is added is reported once, in its order, in frames that are never longer than MaxTaken.
func rangesProperty(t *rapid.T) {
	const limit = 1 << 20
	var r wire.Ranges
	var want, got []uint64
	report := func(t *rapid.T) {
		frame := wire.AppendTaken(nil, &r)
		f, _, err := wire.Next(frame, wire.MaxTaken)
		if err != nil || len(frame) > wire.MaxTaken || f.Type != wire.TypeTaken {
			t.Fatalf("%d bytes: %v", len(frame), err)
		}
		slots, err := takenAll(f.Body, limit)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, slots...)
	}
	t.Repeat(map[string]func(*rapid.T){
		"run": func(t *rapid.T) {
			first := rapid.Uint64Range(0, limit-100).Draw(t, "first")
			for slot := range rapid.Uint64Range(1, 100).Draw(t, "length") {
				r.Add(first + slot)
				want = append(want, first+slot)
			}
		},
		"scattered": func(t *rapid.T) {
			for i := range rapid.Uint64Range(1, 1000).Draw(t, "slots") {
				r.Add(limit - 1 - 2*i)
				want = append(want, limit-1-2*i)
			}
		},
		"report": report,
		"reset": func(t *rapid.T) {
			r.Reset()
			want = want[:len(got)]
		},
		"": func(t *rapid.T) {
			if r.Len() != len(want)-len(got) {
				t.Fatalf("%d slots are left, of %d less %d", r.Len(), len(want), len(got))
			}
		},
	})
	for r.Len() > 0 {
		report(t)
	}
	if !slices.Equal(got, want) {
		t.Fatalf("reported %d slots, added %d:\n%d\n%d", len(got), len(want), got, want)
	}
}

func TestRangesProperty(t *testing.T) { rapid.Check(t, rangesProperty) }

func FuzzRangesProperty(f *testing.F) {
	addSeeds(f)
	f.Fuzz(rapid.MakeFuzz(rangesProperty))
}

func TestTakenIsShort(t *testing.T) {
	var r wire.Ranges
	for slot := range uint64(100_000) {
		r.Add(slot)
	}
	if got := wire.AppendTaken(nil, &r); len(got) != wire.FrameHeader+1+3 {
		t.Errorf("% x", got)
	}
}

// Behind the highest slot there is none: 0 does not follow it.
func TestTakenHighest(t *testing.T) {
	var r wire.Ranges
	r.Add(math.MaxUint64)
	r.Add(0)
	f, _, err := wire.Next(wire.AppendTaken(nil, &r), wire.MaxTaken)
	var first, length, second, alone uint64
	if err == nil {
		err = wire.Uvarints(f.Body, &first, &length, &second, &alone)
	}
	if err != nil || first != math.MaxUint64 || length != 1 || second != 0 || alone != 1 {
		t.Errorf("%d slots from %d, %d from %d: %v", length, first, alone, second, err)
	}
}

func TestTakenRefused(t *testing.T) {
	for _, c := range []struct {
		what, body string
		ok         bool
	}{
		{"nothing", "", true},
		{"all", "\x00\x0a", true},
		{"the last", "\x09\x01", true},
		{"in two parts", "\x05\x05\x00\x05", true},
		{"no length", "\x00", false},
		{"none", "\x00\x00", false},
		{"one too many", "\x00\x0b", false},
		{"one behind the end", "\x0a\x01", false},
		{"the end behind the end", "\x09\x02", false},
		{"2^64-1 slots", "\x00\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", false},
		{"more than all numbers", "\x09\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", false},
		{"the slot 2^64-1", "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x01", false},
	} {
		slots, err := takenAll([]byte(c.body), 10)
		if (err == nil) != c.ok {
			t.Errorf("%s: %v", c.what, err)
		}
		if len(slots) > 10 || slices.ContainsFunc(slots, func(s uint64) bool { return s >= 10 }) {
			t.Errorf("%s: %d", c.what, slots)
		}
	}
}

func TestTakenStops(t *testing.T) {
	enough := errors.New("enough")
	calls := 0
	err := wire.ParseTaken([]byte("\x00\x0a\x00\x0a"), 10, func(slot uint64) error {
		if calls++; slot == 3 {
			return enough
		}
		return nil
	})
	if err != enough || calls != 4 {
		t.Errorf("%d calls: %v", calls, err)
	}
}

// takenTarget reads any bytes as a report of slots below a limit, which the first two say.
func takenTarget() fuzzing.Target {
	return fuzzing.Target{
		Name: "FuzzTaken", Part: 190, Run: takenOfAny,
		Seeds: [][]byte{
			[]byte("\x00\x0a\x05\x05\x00\x05"),
			[]byte("\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"),
		},
	}
}

func takenOfAny(t rapid.TB, data []byte) {
	if len(data) < 2 {
		return
	}
	limit, count := int(binary.BigEndian.Uint16(data)), 0
	wire.ParseTaken(data[2:], uint64(limit), func(slot uint64) error {
		if count++; slot >= uint64(limit) {
			t.Fatalf("slot %d, below %d", slot, limit)
		}
		if count > limit { // a receiver finds one that comes twice
			return errors.New("twice")
		}
		return nil
	})
}

func FuzzTaken(f *testing.F) { takenTarget().Fuzz(f) }

func TestArbitraryTakenProperty(t *testing.T) { takenTarget().Check(t) }
