package wire_test

import (
	"bytes"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/lahja-go/lahja/internal/wire"
)

const document = "../../docs/wire.md"

func readDocument(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(document)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// exampleBlock is a step of the worked example: who says it, and the bytes.
var exampleBlock = regexp.MustCompile("(?s)\\*\\*(a|bus): [^*]*\\*\\*\n\n```\n(.*?)```")

// Each record of the worked example is read, and written again it is the same.
func TestWorkedExampleIsRead(t *testing.T) {
	next := map[string]uint64{}
	for i, block := range exampleBlock.FindAllStringSubmatch(readDocument(t), -1) {
		who, data := block[1], undump(t, block[2])
		if i < 2 {
			var spoken bool
			if data, spoken = bytes.CutPrefix(data, []byte(wire.Preface)); !spoken {
				t.Fatalf("step %d has no preface", i)
			}
		}
		h, body, err := open(data, wire.MaxHandshake)
		if err != nil || h.First != next[who] {
			t.Fatalf("step %d: %+v, where position %d is due: %v", i, h, next[who], err)
		}
		var again []byte
		for rest := body; len(rest) > 0; {
			var f wire.Frame
			if f, rest, err = wire.Next(rest, wire.MaxHandshake); err != nil {
				t.Fatalf("step %d: %v", i, err)
			}
			if f.Type.Numbered() {
				next[who]++
			}
			again = append(again, rewritten(t, f)...)
		}
		if again := recordOf(again, h.First); !bytes.Equal(again, data) {
			t.Errorf("step %d is\n% x\nand written again\n% x", i, data, again)
		}
	}
	if next["a"] == 0 || next["bus"] == 0 {
		t.Errorf("there are %v numbered frames", next)
	}
}

// rewritten returns the frame that says what f says.
func rewritten(t *testing.T, f wire.Frame) []byte {
	t.Helper()
	switch f.Type {
	case wire.TypeTaken:
		var r wire.Ranges
		err := wire.ParseTaken(f.Body, 1, func(slot uint64) error {
			r.Add(slot)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return wire.AppendTaken(nil, &r)
	case wire.TypeWindow, wire.TypeWindowAck:
		numbers := make([]uint64, 3)
		places := []*uint64{&numbers[0], &numbers[1], &numbers[2]}
		if f.Type == wire.TypeWindowAck {
			numbers, places = numbers[:2], places[:2]
		}
		if err := wire.Uvarints(f.Body, places...); err != nil {
			t.Fatal(err)
		}
		return wire.AppendUvarints(nil, f.Type, numbers...)
	}
	for i := range messages {
		if m := &messages[i]; m.typ == f.Type {
			v, err := m.parse(f.Body)
			if err != nil {
				t.Fatal(err)
			}
			return m.append(nil, v)
		}
	}
	t.Fatalf("a frame of type %#02x", uint8(f.Type))
	return nil
}

// The table of types is complete and right.
func TestDocumentTypes(t *testing.T) {
	text := readDocument(t)
	for name, typ := range map[string]wire.Type{
		"Name": wire.TypeName, "Event": wire.TypeEvent, "Taken": wire.TypeTaken,
		"Window": wire.TypeWindow, "WindowAck": wire.TypeWindowAck, "Subscribe": wire.TypeSubscribe,
		"Subscribed": wire.TypeSubscribed, "Leave": wire.TypeLeave, "Room": wire.TypeRoom,
		"Reply": wire.TypeReply, "End": wire.TypeEnd, "Cancel": wire.TypeCancel,
		"Ask": wire.TypeAsk, "Answer": wire.TypeAnswer, "Watch": wire.TypeWatch,
		"Peer": wire.TypePeer, "Peers": wire.TypePeers, "Forget": wire.TypeForget,
		"Goodbye": wire.TypeGoodbye, "Held": wire.TypeHeld, "Drain": wire.TypeDrain,
		"Return": wire.TypeReturn, "Hello": wire.TypeHello, "Welcome": wire.TypeWelcome,
		"Refusal": wire.TypeRefusal, "Confirm": wire.TypeConfirm, "Ping": wire.TypePing,
		"Pong": wire.TypePong, "Void": wire.TypeVoid,
	} {
		if row := fmt.Sprintf("\n| %02x | %s |", uint8(typ), name); !strings.Contains(text, row) {
			t.Errorf("it has no row %q", row)
		}
	}
	rows := regexp.MustCompile(`\n\| [0-9a-f]{2} \| [A-Z]`).FindAllString(text, -1)
	if known := 29; len(rows) != known {
		t.Errorf("it has %d types, where %d are known", len(rows), known)
	}
}

func TestDocumentFlags(t *testing.T) {
	text := readDocument(t)
	for name, flag := range map[string]wire.EventFlags{
		"Prompt": wire.FlagPrompt, "Origin": wire.FlagOrigin, "To": wire.FlagTo,
		"Except": wire.FlagExcept, "Request": wire.FlagRequest, "Target": wire.FlagTarget,
		"Missed": wire.FlagMissed, "Retain": wire.FlagRetain, "Key": wire.FlagKey,
		"Retained": wire.FlagRetained, "Gone": wire.FlagGone, "Gap": wire.FlagGap,
		"Codec": wire.FlagCodec, "Gather": wire.FlagGather,
	} {
		if cell := fmt.Sprintf("| %04x %s |", uint64(flag), name); !strings.Contains(text, cell) {
			t.Errorf("it has no cell %q", cell)
		}
	}
	above := fmt.Sprintf("Flags of %04x and above", uint64(allFlags()+1))
	if !strings.Contains(text, above) {
		t.Errorf("it does not say %q", above)
	}
}

// Links within the document lead somewhere.
func TestDocumentLinks(t *testing.T) {
	text := readDocument(t)
	headings := map[string]bool{}
	for _, h := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(text, -1) {
		name := strings.NewReplacer(" ", "-", ",", "").Replace(strings.ToLower(h[1]))
		headings[name] = true
	}
	for _, link := range regexp.MustCompile(`\]\(#([^)]*)\)`).FindAllStringSubmatch(text, -1) {
		if !headings[link[1]] {
			t.Errorf("there is no heading for %q", link[1])
		}
	}
}
