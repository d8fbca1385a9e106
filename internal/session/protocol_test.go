package session

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/lahja-go/lahja/internal/fault"
	"github.com/lahja-go/lahja/internal/fuzzing"
	"github.com/lahja-go/lahja/internal/wire"
)

// alone is one Link, in a bubble of its own; the test is what is at the other end.
func alone(t *testing.T, test func(t *testing.T, a *side, peer *end)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		x, y := duplex(roomy)
		a := newSide(x)
		go a.run()
		defer finish(a)
		test(t, a, y)
	})
}

// changed is data with one byte changed.
func changed(data []byte, at int) []byte {
	data = bytes.Clone(data)
	data[at] ^= 0x10
	return data
}

// mistakes are what a peer must not send, and what it is told about it.
var mistakes = []struct {
	what string
	sent []byte
	told string
}{
	{"a head that was changed", changed(record(0, word("x")(nil)), 3), "the head of a record"},
	{"a body that was changed", changed(record(0, word("x")(nil)), 26), "the body of a record"},
	{"no record", []byte("GET / HTTP/1.1\r\n\r\n........"), "the head of a record"},
	{"a second preface", []byte(wire.Preface + wire.Preface + wire.Preface),
		"the head of a record"},
	{"an empty record", record(0), "a record of 0 bytes, where 1 to 131072 are allowed"},
	{"a record that is too long", record(0, make([]byte, wire.RecordBody+testFrame+1)),
		"a record of 131073 bytes, where 1 to 131072 are allowed"},
	{"a record from further on", record(1, word("x")(nil)),
		"a record at position 1, where 0 was due"},
	{"a record again", append(record(0, word("x")(nil)), record(0, word("x")(nil))...),
		"a record at position 0, where 1 was due"},
	{"a frame that is too long",
		record(0, wire.Append(nil, wire.TypeEvent, make([]byte, testFrame+1))),
		"a frame of 65537 bytes, where 65536 are allowed"},
	{"half a frame", record(0, word("x")(nil)[:6]), "a record ends inside a frame"},
	{"unknown flags", record(0, []byte{byte(wire.TypeEvent), 0x80, 0, 0, 0, 0}),
		"unknown flags 0x80"},
	{"a hello", record(0, wire.Append(nil, wire.TypeHello, nil)), "a second handshake"},
	{"a welcome", record(0, wire.Append(nil, wire.TypeWelcome, nil)), "a second handshake"},
	{"a refusal", record(0, wire.Append(nil, wire.TypeRefusal, nil)), "a second handshake"},
	{"a report of what was not sent", record(0, wire.AppendUvarints(nil, wire.TypeTaken, 0, 1)),
		"a report of slots that were never used"},
	{"half a report", record(0, wire.AppendUvarints(nil, wire.TypeTaken, 0)), "never used"},
	{"a return of what was not sent", record(0, wire.AppendUvarints(nil, wire.TypeReturn, 0)),
		"an event is returned that was not sent"},
	{"half a return", record(0, wire.Append(nil, wire.TypeReturn, []byte{0x80})), "ends too early"},
	{"a goodbye that is none", record(0, wire.Append(nil, wire.TypeGoodbye, []byte{0x01})),
		"cannot be read"},
	{"a word after the goodbye", record(0, goodbye("why"), word("x")(nil)),
		"a frame after the goodbye"},
	{"a second goodbye", append(record(0, goodbye("why")), record(1, goodbye("why"))...),
		"a frame after the goodbye"},
	{"what the handler does not want", record(0, word("bad")(nil)), "a bad word"},
}

// Whoever breaks the protocol is told, and the link ends with the reason.
func TestMistakes(t *testing.T) {
	for _, c := range mistakes {
		alone(t, func(t *testing.T, a *side, peer *end) {
			a.answer = false
			a.handle = func(f wire.Frame) error {
				if string(f.Body) == "bad" {
					return &ProtocolError{Reason: "a bad word"}
				}
				return nil
			}
			peer.Write(c.sent)
			<-a.done
			var fouled *ProtocolError
			if !errors.As(a.err, &fouled) || !strings.Contains(fouled.Error(), c.told) {
				t.Errorf("%s: it ended with %v", c.what, a.err)
			}
			told := lastWord(t, peer)
			if told.Code != string(fault.Protocol) || !strings.Contains(told.Message, c.told) {
				t.Errorf("%s: the peer is told %q", c.what, told)
			}
		})
	}
}

// lastWord reads what arrives to its end, which has to be a Goodbye.
func lastWord(t *testing.T, conn io.Reader) (g wire.Goodbye) {
	t.Helper()
	data, err := io.ReadAll(conn)
	if err != nil {
		t.Fatal(err)
	}
	records := parsed(t, data)
	if len(records) == 0 {
		t.Fatal("nothing was said")
	}
	last := records[len(records)-1]
	f := last[len(last)-1]
	if err := wire.ParseControl(f.Body, &g); err != nil || f.Type != wire.TypeGoodbye {
		t.Fatalf("the last word is %+v: %v", f, err)
	}
	return g
}

// An event is reported as taken once.
func TestTakenTwice(t *testing.T) {
	alone(t, func(t *testing.T, a *side, peer *end) {
		o := newOwner()
		a.event(o, 1, false, nil)
		a.event(o, 2, false, nil)
		peer.Write(record(0, wire.AppendUvarints(nil, wire.TypeTaken, 0, 1)))
		synctest.Wait()
		if o.count() != 1 {
			t.Errorf("%d settled", o.count())
		}
		peer.Write(record(1, wire.AppendUvarints(nil, wire.TypeTaken, 1, 1, 0, 1)))
		<-a.done
		if want := "a report of an event that was taken already"; fmt.Sprint(a.err) != want {
			t.Errorf("it ended with %v", a.err)
		}
		if o.settled[1] != 1 || o.settled[2] != 1 {
			t.Errorf("settled: %d", o.settled)
		}
	})
}

// What the peer gets wrong after it was told goodbye ends the link, without a second goodbye.
func TestMistakeWhileLeaving(t *testing.T) {
	alone(t, func(t *testing.T, a *side, peer *end) {
		a.link.Goodbye(wire.Goodbye{Message: "first"})
		synctest.Wait()
		peer.Write(record(7, word("x")(nil)))
		<-a.done
		if a.err == nil || !strings.Contains(a.err.Error(), "position 7") {
			t.Errorf("it ended with %v", a.err)
		}
		if got := lastWord(t, peer); got.Message != "first" {
			t.Errorf("the last word is %q", got)
		}
	})
}

// One who breaks the protocol and does not read either is given a second.
func TestMistakeOfOneWhoDoesNotRead(t *testing.T) {
	alone(t, func(t *testing.T, a *side, peer *end) {
		peer.in.change(func() { peer.in.size = 0 })
		peer.Write(record(7, word("x")(nil)))
		begin := time.Now()
		<-a.done
		if took := time.Since(begin); took != farewell {
			t.Errorf("it took %v", took)
		}
		var fouled *ProtocolError
		if !errors.As(a.err, &fouled) {
			t.Errorf("it ended with %v", a.err)
		}
	})
}

func TestErrorOfTheHandler(t *testing.T) {
	alone(t, func(t *testing.T, a *side, peer *end) {
		reason := errors.New("not the peer's fault")
		a.handle = func(wire.Frame) error { return reason }
		peer.Write(record(0, word("x")(nil)))
		<-a.done
		if said, _ := io.ReadAll(peer); a.err != reason || len(said) > 0 {
			t.Errorf("it ended with %v after saying % x", a.err, said)
		}
	})
}

// conversation is what one side says in a session with frames of many kinds.
func conversation(t *testing.T) []byte {
	var said []byte
	linked(t, roomy, func(t *testing.T, a, b *side) {
		o := newOwner()
		f := func(payload string) { a.event(o, 1, false, []byte(payload)) }
		f("first")
		a.link.Send(func(dst []byte) []byte {
			return wire.AppendName(dst, wire.Name{Number: 7, Name: "a name"})
		})
		synctest.Wait()
		f("second")
		a.say("word")
		a.link.SendAhead(word("ahead"))
		f(strings.Repeat("third ", 20))
		raw(b, 0, wire.AppendUvarints(nil, wire.TypePing))
		synctest.Wait()
		a.link.Goodbye(wire.Goodbye{})
		<-a.done
		said = bytes.Clone(b.in().log)
	})
	return said
}

// listen lets a link hear data and returns what was delivered and how the link ended.
func listen(data []byte) (frames []wire.Frame, goodbyes int, err error) {
	x, y := duplex(roomy)
	a := newSide(x)
	a.answer = false
	y.Write(data)
	y.out.change(func() { y.out.ended = true })
	a.run()
	return a.taken(), len(a.goodbyes()), a.err
}

// With any one byte changed, what is delivered is what was sent before it, and the link ends with
// an error.
func TestDamage(t *testing.T) {
	said := conversation(t)
	want, _, _ := listen(said)
	if len(want) != 6 {
		t.Fatalf("%d frames", len(want))
	}
	for at := range said {
		for _, mask := range []byte{0x01, 0x80, 0xff} {
			damaged := bytes.Clone(said)
			damaged[at] ^= mask
			got, goodbyes, err := listen(damaged)
			for i := range got {
				if got[i].Type != want[i].Type || !bytes.Equal(got[i].Body, want[i].Body) {
					t.Fatalf("byte %d changed: frame %d is %+v, was %+v", at, i, got[i], want[i])
				}
			}
			var fouled *ProtocolError
			if goodbyes > 0 || !errors.As(err, &fouled) && !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Fatalf("byte %d changed: %d goodbyes, %v", at, goodbyes, err)
			}
		}
	}
}

// Cut anywhere, what is delivered is what was whole, and the end is not taken for a goodbye.
func TestCut(t *testing.T) {
	said := conversation(t)
	want, _, _ := listen(said)
	delivered := 0
	for at := range said {
		got, goodbyes, err := listen(said[:at])
		if len(got) < delivered || len(got) > len(want) {
			t.Fatalf("cut to %d of %d bytes: %d frames", at, len(said), len(got))
		}
		delivered = len(got)
		if goodbyes > 0 || !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Fatalf("cut to %d of %d bytes: %d goodbyes, %v", at, len(said), goodbyes, err)
		}
	}
}

// recording is what one side says in a session, as TestRecording has it.
const recording = "testdata/conversation"

// The recording has what is said today. It is written anew when the file is not there.
func TestRecording(t *testing.T) {
	said := conversation(t)
	kept, err := os.ReadFile(recording)
	if errors.Is(err, fs.ErrNotExist) {
		kept, err = said, os.WriteFile(recording, said, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	got, _, _ := listen(kept)
	want, _, _ := listen(said)
	if !reflect.DeepEqual(got, want) {
		t.Errorf("in a session %+v is said, and in %s %+v", want, recording, got)
	}
}

// linkTarget hears any bytes, once as they are and once as the body of a record, and ends.
func linkTarget(tb rapid.TB) fuzzing.Target {
	said, err := os.ReadFile(recording)
	if err != nil {
		tb.Fatal(err)
	}
	seeds := [][]byte{
		said, said[wire.HeaderSize:],
		record(0, word("x")(nil), goodbye("why")),
		word("x")(wire.AppendUvarints(nil, wire.TypeTaken, 0, 1)),
		append(wire.AppendUvarints(nil, wire.TypePing), goodbye("")...),
	}
	for _, c := range mistakes {
		if len(c.sent) < 1000 {
			seeds = append(seeds, c.sent, c.sent[min(len(c.sent), wire.HeaderSize):])
		}
	}
	return fuzzing.Target{Name: "FuzzLink", Part: 8, Seeds: seeds, Run: heardAny}
}

func heardAny(t rapid.TB, data []byte) {
	for _, data := range [][]byte{data, record(0, data), append(record(0, data), data...)} {
		if _, _, err := listen(data); err == nil {
			t.Fatal("it ended in order")
		}
	}
}

func FuzzLink(f *testing.F) { linkTarget(f).Fuzz(f) }

func TestArbitraryLinkProperty(t *testing.T) { linkTarget(t).Check(t) }

// The targets of this package, each with its part of very many executions.
func TestFuzzAtLength(t *testing.T) {
	fuzzing.AtLength(t, handshakeTarget(), linkTarget(t))
}
