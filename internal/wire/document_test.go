package wire_test

import (
	"bytes"
	"encoding/hex"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/lahja-go/lahja/internal/wire"
)

// step is one message of the worked example in docs/wire.md.
type step struct {
	title string
	bytes []byte
}

// worked is the session of the worked example: endpoint "a" attaches, subscribes to "tick", gets
// one from "b", broadcasts one, and leaves.
func worked() []step {
	incarnation := bytes.Repeat([]byte{0xaa}, 16)
	hello := wire.AppendControl(nil, wire.TypeHello, wire.Hello{
		MinVersion: 1, MaxVersion: 1, Name: "a", Incarnation: incarnation, MaxFrame: 1 << 20,
	})
	welcome := wire.AppendControl(nil, wire.TypeWelcome, wire.Welcome{
		Version: 1, Name: "a", Incarnation: bytes.Repeat([]byte{0xbb}, 16),
		MaxFrame: 1 << 20, Lag: 32 << 20, Stall: 5000,
	})
	subscribe := wire.AppendControl(nil, wire.TypeSubscribe, wire.Subscribe{ID: 3, Event: "tick"})
	subscribed := wire.AppendControl(nil, wire.TypeSubscribed, wire.Subscribed{ID: 3})
	fromB := wire.AppendName(nil, wire.Name{Number: 9, Name: "tick"})
	fromB = wire.AppendName(fromB, wire.Name{Number: 7, Name: "b"})
	fromB = wire.AppendEvent(fromB, &wire.Event{
		Flags: wire.FlagOrigin, Name: 9, Slot: 0, Origin: 7, Payload: []byte{0xa1, 0x61, 'N', 1},
	})
	var taken wire.Ranges
	taken.Add(0)
	fromA := wire.AppendName(nil, wire.Name{Number: 2, Name: "tick"})
	fromA = wire.AppendEvent(fromA, &wire.Event{
		Flags: wire.FlagPrompt, Name: 2, Slot: 0, Payload: []byte{0xa1, 0x61, 'N', 2},
	})
	fromA = wire.AppendTaken(fromA, &taken)
	taken.Reset()
	taken.Add(0)
	answer := wire.AppendTaken(
		wire.AppendUvarints(nil, wire.TypeWindow, 2, 1, 64<<10), &taken)
	ack := wire.AppendUvarints(nil, wire.TypeWindowAck, 2, 1)
	bye := wire.AppendControl(nil, wire.TypeGoodbye, wire.Goodbye{})
	return []step{
		{"a: preface and hello", append([]byte(wire.Preface), wrap(hello, 0)...)},
		{"bus: preface and welcome", append([]byte(wire.Preface), wrap(welcome, 0)...)},
		{"a: subscribe", wrap(subscribe, 0)},
		{"bus: subscribed", wrap(subscribed, 0)},
		{"bus: an event of b", wrap(fromB, 1)},
		{"a: an event, and what it has taken", wrap(fromA, 1)},
		{"bus: a window, and what was taken", wrap(answer, 4)},
		{"a: the window is acknowledged", wrap(ack, 4)},
		{"a: goodbye", wrap(bye, 5)},
		{"bus: goodbye", wrap(bye, 6)},
	}
}

func wrap(body []byte, first uint64) []byte {
	r := make([]byte, wire.HeaderSize, wire.HeaderSize+len(body))
	wire.PutHeader(r, body, first)
	return append(r, body...)
}

// The bytes in docs/wire.md are what this package writes, and it reads them.
func TestWorkedExample(t *testing.T) {
	text, err := os.ReadFile("../../docs/wire.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile("(?s)\\*\\*(a|bus): ([^*]*)\\*\\*\n\n```\n(.*?)```").
		FindAllStringSubmatch(string(text), -1)
	steps := worked()
	if len(blocks) != len(steps) {
		t.Fatalf("it has %d steps, where %d are expected", len(blocks), len(steps))
	}
	for i, b := range blocks {
		if title := b[1] + ": " + b[2]; title != steps[i].title {
			t.Errorf("step %d is %q, where %q is expected", i, title, steps[i].title)
		}
		if got := undump(t, b[3]); !bytes.Equal(got, steps[i].bytes) {
			t.Errorf("%s has\n%x\nwhere the package writes\n%s", steps[i].title, got,
				dump(steps[i].bytes))
		}
	}
}

// undump reads lines of bytes in hexadecimal, each with a remark after two blanks.
func undump(t *testing.T, text string) []byte {
	var all []byte
	for _, line := range strings.Split(strings.TrimSpace(text), "\n") {
		digits, _, _ := strings.Cut(line, "  ")
		b, err := hex.DecodeString(strings.ReplaceAll(digits, " ", ""))
		if err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		all = append(all, b...)
	}
	return all
}

func dump(b []byte) string {
	var lines []string
	for len(b) > 0 {
		n := min(16, len(b))
		lines = append(lines, strings.TrimSpace(regexp.MustCompile("..").ReplaceAllString(
			hex.EncodeToString(b[:n]), "$0 ")))
		b = b[n:]
	}
	return strings.Join(lines, "\n")
}
