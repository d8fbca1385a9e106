package lahja_test

import (
	"maps"
	"slices"
	"testing"

	"github.com/lahja-go/lahja/internal/wire"
)

// cut returns a frame with the last bytes of its body missing; -1: all of them.
func cut(t *testing.T, frame []byte, bytes int) []byte {
	t.Helper()
	f, _, err := wire.Next(frame, wire.MaxFrame)
	if err != nil {
		t.Fatal(err)
	}
	if bytes < 0 {
		return wire.Append(nil, f.Type, nil)
	}
	return wire.Append(nil, f.Type, f.Body[:len(f.Body)-bytes])
}

// Frames with a body that ends too early are a mistake of whoever sends them, to a bus and to an
// endpoint.
func TestFramesThatEndEarly(t *testing.T) {
	shapeless := []string{"Ping", "Pong", "Void", "Drain",
		"unknown, 80–bf", "unknown, c0–ff", "unknown, below 80; Room"}
	for role, sender := range map[string]string{"bus": "E", "endpoint": "B"} {
		other := map[string]string{"bus": "endpoint", "endpoint": "bus"}[role]
		all := samplesOf(other, 0)
		for _, name := range slices.Sorted(maps.Keys(all)) {
			from := all[name][0].from
			if slices.Contains(shapeless, name) || from != "" && from != sender {
				continue
			}
			for _, missing := range []int{1, -1} {
				if name == "Name" && missing == 1 || name == "Taken" && missing < 0 {
					continue // a shorter name is one as well, and so is a report of nothing
				}
				frames := cut(t, all[name][0].frames, missing)
				blamed := false
				if role == "bus" {
					blamed, _ = toBus(t, "open", false, frames)
				} else {
					blamed, _ = toEndpoint(t, "open", false, func(uint64) []byte { return frames })
				}
				if !blamed {
					t.Errorf("to a %s, %s without %d bytes passes", role, name, missing)
				}
			}
		}
	}
}

// What is well formed and cannot be meant is a mistake as well. 99 is a number that nobody has
// given a meaning.
func TestFramesThatCannotBeMeant(t *testing.T) {
	event := func(e wire.Event) []byte { return wire.AppendEvent(nil, &e) }
	for name, frames := range map[string][]byte{
		"an event without a name": event(wire.Event{Name: 99}),
		"an event with an origin": event(
			wire.Event{Name: tick, Flags: wire.FlagOrigin, Origin: tick}),
		"Gather of no request": event(wire.Event{Name: tick, Flags: wire.FlagGather}),
		"a request to be kept": event(wire.Event{
			Name: tick, Flags: wire.FlagRequest | wire.FlagRetain, Wanted: tick}),
		"a key of what is not kept": event(wire.Event{Name: tick, Flags: wire.FlagKey, Key: "k"}),
		"an event to be kept for some alone": event(wire.Event{
			Name: tick, Flags: wire.FlagRetain | wire.FlagTo, To: []string{"x"}}),
		"an event to be kept for all but some": event(wire.Event{
			Name: tick, Flags: wire.FlagRetain | wire.FlagExcept, Except: []string{"x"}}),
		"a key that is not UTF-8": event(wire.Event{
			Name: tick, Flags: wire.FlagRetain | wire.FlagKey, Key: "\xff"}),
		"an answer that one is gone": wire.AppendReply(nil, &wire.Reply{
			Call: 7, Final: true, Gone: true, Origin: "x", Message: "gone"}),
		"a response without a name": event(wire.Event{
			Name: tick, Flags: wire.FlagRequest, Call: 1, Wanted: 99}),
		"an unknown window":         numbers(wire.TypeWindowAck, 99, 0),
		"an unknown slot":           numbers(wire.TypeTaken, 99, 1),
		"a return of nothing":       numbers(wire.TypeReturn, 99),
		"a name once more":          wire.AppendName(nil, wire.Name{Number: tick, Name: "tock"}),
		"an event's number retired": wire.AppendName(nil, wire.Name{Number: tick}),
		"a second number of an event": wire.AppendEvent(
			wire.AppendName(nil, wire.Name{Number: 9, Name: "tick"}),
			&wire.Event{Name: 9, Slot: 1}),
		"one subscription twice": append(
			control(wire.TypeSubscribe, wire.Subscribe{ID: 5, Event: "a"}),
			control(wire.TypeSubscribe, wire.Subscribe{ID: 5, Event: "b"})...),
	} {
		if blamed, _ := toBus(t, "open", false, frames); !blamed {
			t.Errorf("to a bus, %s passes", name)
		}
	}
	from := func(e wire.Event) func(uint64) []byte {
		e.Flags |= wire.FlagOrigin
		return func(uint64) []byte { return event(e) }
	}
	for name, frames := range map[string]func(theirs uint64) []byte{
		"an event without a name":  from(wire.Event{Name: 99, Origin: teller}),
		"an origin without a name": from(wire.Event{Name: tick, Origin: 99}),
		"an event for others": from(wire.Event{
			Name: tick, Origin: teller, Flags: wire.FlagExcept,
		}),
		"no origin": func(uint64) []byte { return event(wire.Event{Name: tick}) },
		"a window of nothing": func(uint64) []byte {
			return numbers(wire.TypeWindow, 99, 1, 1<<20)
		},
		"a window beyond all means": func(n uint64) []byte {
			return numbers(wire.TypeWindow, n, 1, 1<<41)
		},
		"an unknown slot": func(uint64) []byte { return numbers(wire.TypeTaken, 99, 1) },
		"a response of one who is gone": func(uint64) []byte {
			return wire.AppendReply(nil, &wire.Reply{Call: 7, Gone: true, Name: "x"})
		},
	} {
		if blamed, _ := toEndpoint(t, "open", false, frames); !blamed {
			t.Errorf("to an endpoint, %s passes", name)
		}
	}
}
