package session

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"reflect"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
	"weak"

	"pgregory.net/rapid"

	"github.com/lahja-go/lahja/internal/fault"
	"github.com/lahja-go/lahja/internal/fuzzing"
	"github.com/lahja-go/lahja/internal/wire"
)

// script is a connection on which certain bytes arrive and any may be written.
type script struct {
	io.Reader
	bytes.Buffer
}

func (s *script) Read(b []byte) (int, error) { return s.Reader.Read(b) }

func says(data string) *script { return &script{Reader: strings.NewReader(data)} }

// first is what a side sends first: the preface and a record with those frames.
func first(frames ...[]byte) string { return wire.Preface + string(record(0, frames...)) }

func hello() *wire.Hello {
	return &wire.Hello{
		MinVersion: 1, MaxVersion: 3, Features: []string{"swift"}, Name: "a", MaxFrame: 1 << 20,
		Incarnation: []byte("0123456789abcdef"), Credentials: []byte("none"),
	}
}

func welcome() *wire.Welcome {
	return &wire.Welcome{
		Version: wire.Version, Name: "a", Incarnation: []byte("fedcba9876543210"),
		MaxFrame: minFrame, Lag: maxLag,
	}
}

func TestHandshake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x, y := duplex(1) // neither side can say all before it is heard
		type result struct {
			welcome *wire.Welcome
			err     error
		}
		greeted := make(chan result)
		go func() {
			w, err := Greet(x, hello())
			greeted <- result{w, err}
		}()
		h, err := ReadHello(y)
		if err != nil || !reflect.DeepEqual(h, hello()) {
			t.Errorf("%+v, %v", h, err)
		}
		if err := WriteWelcome(y, welcome()); err != nil {
			t.Error(err)
		}
		if r := <-greeted; r.err != nil || !reflect.DeepEqual(r.welcome, welcome()) {
			t.Errorf("%+v, %v", r.welcome, r.err)
		}
	})
}

// What follows the first message belongs to the Link.
func TestHandshakeLeavesTheRest(t *testing.T) {
	conn := says(first(wire.AppendControl(nil, wire.TypeHello, hello())) + "the rest")
	if _, err := ReadHello(conn); err != nil {
		t.Fatal(err)
	}
	if rest, _ := io.ReadAll(conn.Reader); string(rest) != "the rest" {
		t.Errorf("%q is left", rest)
	}
}

func TestRefusal(t *testing.T) {
	const userCode fault.Code = "zoo: closed on Mondays"
	for _, c := range []struct{ reason, want error }{
		{fault.Errorf(fault.NameTaken, "%q is attached", "a"), fault.NameTaken},
		{fault.Errorf(fault.Denied, "no"), fault.Denied},
		{fault.Closed, fault.Closed},
		{fmt.Errorf("why: %w", userCode), userCode},
		{context.DeadlineExceeded, context.DeadlineExceeded},
		{errors.New("without a code"), nil},
	} {
		conn := says("")
		Refuse(conn, c.reason)
		_, err := Greet(says(conn.String()), hello())
		var remote *fault.RemoteError
		if !errors.As(err, &remote) || remote.Message != c.reason.Error() {
			t.Errorf("%v arrives as %v", c.reason, err)
		}
		if c.want != nil && !errors.Is(err, c.want) || c.want == nil && remote.Code != "" {
			t.Errorf("%v arrives with the code %q", c.reason, remote.Code)
		}
	}
}

// other is what does not speak the protocol, and how the error describes it.
var other = []struct{ what, data, err string }{
	{"a web browser", "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", `it begins with "GET / HT"`},
	{"a web server", "HTTP/1.1 400 Bad Request\r\n\r\n", `it begins with "HTTP/1.1"`},
	{"TLS", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", `"\x16\x03\x01\x02\x00\x01\x00\x01"`},
	{"SSH", "SSH-2.0-OpenSSH_9.6\r\n", `it begins with "SSH-2.0-"`},
	{"another version", "LAHJA/2\nwhatever comes", `it begins with "LAHJA/2\n"`},
	{"another case", "lahja/1\nwhatever comes", `it begins with "lahja/1\n"`},
	{"nothing", "", "the other side said nothing: EOF"},
	{"one byte", "L", `the other side said only "L"`},
	{"seven bytes", "LAHJA/1", `the other side said only "LAHJA/1"`},
	{"the preface alone", "LAHJA/1\n", `said only "LAHJA/1\n"`},
	{"half a head", "LAHJA/1\n\x00\x00\x00\x10", `said only "LAHJA/1\n\x00\x00\x00\x10"`},
	{"the preface twice", "LAHJA/1\nLAHJA/1\nLAHJA/1\nLAHJA/1\n", "does not match its checksum"},
	{"no length", wire.Preface + string(record(0)), "a record of 0 bytes, where 1 to 4096 are"},
	{"a long record", first(make([]byte, 4097)), "a record of 4097 bytes, where 1 to 4096 are"},
	{"no frame", first([]byte("abc")), "ends inside the head of a frame"},
	{"two frames", first(wire.AppendControl(nil, wire.TypeHello, hello()),
		wire.AppendControl(nil, wire.TypeHello, hello())), "a handshake with more than one frame"},
	{"a hello at another position", wire.Preface + string(record(7,
		wire.AppendControl(nil, wire.TypeHello, hello()))), "position 7, where 0 was due"},
	{"an event", first(wire.Append(nil, wire.TypeEvent, []byte{1, 2, 3})), "a frame of type 0x02"},
	{"a hello that is none", first(wire.Append(nil, wire.TypeHello, []byte{0x01})),
		"cannot be read"},
	{"a welcome that is none", first(wire.Append(nil, wire.TypeWelcome, []byte{0x01})),
		"cannot be read"},
	{"a refusal that is none", first(wire.Append(nil, wire.TypeRefusal, []byte{0x01})),
		"cannot be read"},
}

func TestOtherProtocols(t *testing.T) {
	for _, c := range other {
		_, err := ReadHello(says(c.data))
		if strings.HasPrefix(c.what, "a welcome") || strings.HasPrefix(c.what, "a refusal") {
			if !errors.Is(err, fault.Protocol) {
				t.Errorf("%s to a bus: %v", c.what, err)
			}
		} else if err == nil || !strings.Contains(err.Error(), c.err) {
			t.Errorf("%s to a bus: %v", c.what, err)
		}
		_, err = Greet(says(c.data), hello())
		if strings.HasPrefix(c.what, "a hello") {
			if !errors.Is(err, fault.Protocol) {
				t.Errorf("%s to an endpoint: %v", c.what, err)
			}
		} else if err == nil || !strings.Contains(err.Error(), c.err) {
			t.Errorf("%s to an endpoint: %v", c.what, err)
		}
	}
}

func TestRandomBytes(t *testing.T) {
	random := rand.NewChaCha8([32]byte{7})
	for range 1000 {
		data := make([]byte, 100)
		random.Read(data)
		for _, prefix := range []string{"", wire.Preface} {
			if _, err := ReadHello(says(prefix + string(data))); !errors.Is(err, fault.Protocol) {
				t.Fatalf("%q% x: %v", prefix, data, err)
			}
			_, err := Greet(says(prefix+string(data)), hello())
			if !errors.Is(err, fault.Protocol) {
				t.Fatalf("%q% x: %v", prefix, data, err)
			}
		}
	}
}

// A hello that is cut or changed anywhere is not taken for another.
func TestDamagedHello(t *testing.T) {
	data := first(wire.AppendControl(nil, wire.TypeHello, hello()))
	for i := range len(data) {
		_, err := ReadHello(says(data[:i]))
		if err == nil || !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("cut to %d of %d bytes: %v", i, len(data), err)
		}
		for _, mask := range []byte{0x01, 0x80, 0xff} {
			changed := []byte(data)
			changed[i] ^= mask
			if h, err := ReadHello(says(string(changed))); !errors.Is(err, fault.Protocol) {
				t.Errorf("byte %d changed: %+v, %v", i, h, err)
			}
		}
	}
}

// Silence ends with the limit, which closes the connection; the error says what was heard.
func TestSilence(t *testing.T) {
	for _, c := range []struct{ said, err string }{
		{"", "said nothing"},
		{"LAH", `said only "LAH"`},
		{"LAHJA/1\n", `said only "LAHJA/1\n"`},
		{first(wire.AppendControl(nil, wire.TypeHello, hello()))[:60], "said only 32 of the"},
	} {
		synctest.Test(t, func(t *testing.T) {
			x, y := duplex(roomy)
			x.Write([]byte(c.said))
			begin := time.Now()
			release := Bound(t.Context(), y, 3*time.Second)
			_, err := ReadHello(y)
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("%q: %v", c.said, err)
			}
			if took := time.Since(begin); took != 3*time.Second {
				t.Errorf("%q: it took %v", c.said, took)
			}
			if release() {
				t.Errorf("%q: the limit was not reached", c.said)
			}
			if _, err := x.Read(make([]byte, 1)); err != io.EOF {
				t.Errorf("%q: the connection is open: %v", c.said, err)
			}
		})
	}
}

func TestBound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x, y := duplex(roomy)
		ctx, cancel := context.WithCancel(t.Context())
		release := Bound(ctx, x, time.Second)
		time.Sleep(time.Second / 2)
		if !release() {
			t.Error("released too late")
		}
		cancel()
		time.Sleep(time.Second)
		if _, err := x.Write([]byte("x")); err != nil {
			t.Errorf("closed after it was released: %v", err)
		}
		release = Bound(ctx, y, time.Hour)
		synctest.Wait()
		if _, err := y.Write([]byte("x")); err == nil || release() {
			t.Errorf("open after the end of ctx: %v", err)
		}
	})
}

// A connection that is released is let go of, although the runtime keeps the timers for a while
// where it has many.
func TestBoundLetsGo(t *testing.T) {
	for range 1000 {
		defer time.AfterFunc(time.Hour, func() {}).Stop()
	}
	conn := &script{Reader: bytes.NewReader(make([]byte, 1<<10))}
	release := Bound(t.Context(), io.NopCloser(conn), time.Hour)
	held := weak.Make(conn)
	conn = nil
	if !release() {
		t.Error("released too late")
	}
	runtime.GC()
	if held.Value() != nil {
		t.Error("the connection is still held")
	}
}

func TestVersions(t *testing.T) {
	for _, c := range []struct {
		lowest, highest uint64
		ok              bool
	}{{1, 1, true}, {0, 1, true}, {1, 9, true}, {2, 3, false}, {0, 0, false}, {2, 1, false}} {
		h := hello()
		h.MinVersion, h.MaxVersion = c.lowest, c.highest
		conn := says(first(wire.AppendControl(nil, wire.TypeHello, h)))
		_, err := ReadHello(conn)
		if (err == nil) != c.ok {
			t.Errorf("versions %d to %d: %v", c.lowest, c.highest, err)
		}
		if c.ok {
			continue
		}
		want := fmt.Sprintf("it speaks versions %d to %d of the protocol, this side version 1",
			c.lowest, c.highest)
		if !strings.Contains(err.Error(), want) {
			t.Errorf("versions %d to %d: %v", c.lowest, c.highest, err)
		}
		_, told := Greet(says(conn.String()), hello())
		if !errors.Is(told, fault.Protocol) || !strings.Contains(told.Error(), want) {
			t.Errorf("versions %d to %d: the endpoint is told: %v", c.lowest, c.highest, told)
		}
	}
}

func TestWelcomeLimits(t *testing.T) {
	for _, c := range []struct {
		what   string
		change func(*wire.Welcome)
		err    string
	}{
		{"the least", func(w *wire.Welcome) { w.MaxFrame, w.Lag = minFrame, 0 }, ""},
		{"the most", func(w *wire.Welcome) { w.MaxFrame, w.Lag = maxFrame, maxLag }, ""},
		{"version 2", func(w *wire.Welcome) { w.Version = 2 }, "wants to speak version 2"},
		{"no version", func(w *wire.Welcome) { w.Version = 0 }, "wants to speak version 0"},
		{"small frames", func(w *wire.Welcome) { w.MaxFrame = minFrame - 1 },
			"frames of 8191 bytes"},
		{"large frames", func(w *wire.Welcome) { w.MaxFrame = maxFrame + 1 }, "frames of 16777217"},
		{"all bits", func(w *wire.Welcome) { w.MaxFrame = 1<<64 - 1 }, "impossible limits"},
		{"a long lag", func(w *wire.Welcome) { w.Lag = maxLag + 1 }, "a lag of 1099511627777"},
	} {
		w := welcome()
		c.change(w)
		_, err := Greet(says(first(wire.AppendControl(nil, wire.TypeWelcome, w))), hello())
		switch {
		case c.err == "" && err != nil:
			t.Errorf("%s: %v", c.what, err)
		case c.err != "" &&
			(!errors.Is(err, fault.Protocol) || !strings.Contains(err.Error(), c.err)):
			t.Errorf("%s: %v", c.what, err)
		}
	}
}

func TestHandshakeCannotWrite(t *testing.T) {
	x, y := duplex(roomy)
	y.Close()
	if _, err := Greet(x, hello()); !errors.Is(err, io.ErrClosedPipe) {
		t.Error(err)
	}
	if err := WriteWelcome(x, welcome()); !errors.Is(err, io.ErrClosedPipe) {
		t.Error(err)
	}
	Refuse(x, fault.Denied) // is none of anybody's business
}

// broken is a connection whose error comes with the last of the bytes, as that of any Reader may.
type broken struct {
	script
	rest string
}

func (c *broken) Read(b []byte) (n int, err error) {
	n = copy(b, c.rest)
	if c.rest = c.rest[n:]; c.rest == "" {
		err = syscall.ECONNRESET
	}
	return n, err
}

// A refusal counts also where the connection breaks behind it.
func TestRefusalAndBroken(t *testing.T) {
	refusal := wire.Refusal{Code: string(fault.NameTaken), Message: "it is"}
	conn := &broken{rest: first(wire.AppendControl(nil, wire.TypeRefusal, refusal))}
	if _, err := Greet(conn, hello()); !errors.Is(err, fault.NameTaken) {
		t.Error(err)
	}
}

// heardFirst reads any bytes as what the other side says first, by the first of them as a bus or as
// an endpoint. What is understood is understood again when it is said again, but for an empty list,
// which is left out.
func heardFirst(t rapid.TB, data []byte) {
	if len(data) == 0 {
		return
	}
	conn := says(string(data[1:]))
	if data[0]&1 == 0 {
		h, err := ReadHello(conn)
		if err != nil {
			readable(t, conn)
			return
		}
		again, err := ReadHello(says(first(wire.AppendControl(nil, wire.TypeHello, h))))
		if err != nil || !bytes.Equal(wire.Encode(h), wire.Encode(again)) {
			t.Fatalf("%+v is said again as %+v: %v", h, again, err)
		}
		return
	}
	w, err := Greet(conn, hello())
	if err != nil {
		if fault.CodeOf(err) == "" && !errors.As(err, new(*fault.RemoteError)) {
			t.Fatalf("an error that cannot be told: %v", err)
		}
		return
	}
	again, err := Greet(says(first(wire.AppendControl(nil, wire.TypeWelcome, w))), hello())
	if err != nil || !bytes.Equal(wire.Encode(w), wire.Encode(again)) {
		t.Fatalf("%+v is said again as %+v: %v", w, again, err)
	}
}

// readable checks that what a bus answered, if anything, is a refusal that an endpoint can read.
func readable(t rapid.TB, conn *script) {
	if conn.Len() == 0 {
		return
	}
	_, err := Greet(says(conn.String()), hello())
	if !errors.As(err, new(*fault.RemoteError)) {
		t.Fatalf("the refusal %q cannot be read: %v", conn.String(), err)
	}
}

// handshakes are what is said first, to a bus and to an endpoint.
func handshakes() (seeds [][]byte) {
	resumed := hello()
	resumed.Session, resumed.Token = []byte("0123456789abcdef"), []byte("fedcba9876543210")
	resumed.Attempt, resumed.Received = 1, 1<<40
	full := welcome()
	full.Session, full.Token, full.Features = resumed.Session, resumed.Token, []string{"resume"}
	full.Permissions = wire.Encode(wire.Permissions{Broadcast: []string{"*"}})
	for _, said := range []string{
		first(wire.AppendControl(nil, wire.TypeHello, hello())),
		first(wire.AppendControl(nil, wire.TypeHello, resumed)),
		first(wire.AppendControl(nil, wire.TypeWelcome, welcome())),
		first(wire.AppendControl(nil, wire.TypeWelcome, full)),
		first(wire.AppendControl(nil, wire.TypeRefusal,
			wire.Refusal{Code: "a: b", Message: "why"})),
	} {
		seeds = append(seeds, append([]byte{0}, said...), append([]byte{1}, said...))
	}
	for _, o := range other {
		seeds = append(seeds, append([]byte{0}, o.data...), append([]byte{1}, o.data...))
	}
	return seeds
}

// handshakeTarget is for both sides. A checksum is made right before it is read, or no change would
// get further.
func handshakeTarget() fuzzing.Target {
	return fuzzing.Target{
		Name: "FuzzHandshake", Part: 40, Seeds: handshakes(),
		Run: func(t rapid.TB, data []byte) {
			heardFirst(t, data)
			heardFirst(t, summed(data))
		},
	}
}

func FuzzHandshake(f *testing.F) { handshakeTarget().Fuzz(f) }

func TestHandshakeProperty(t *testing.T) { handshakeTarget().Check(t) }

// summed is what a side says first, with the checksums of its record made right.
func summed(data []byte) []byte {
	const start = 1 + len(wire.Preface)
	if len(data) < start+wire.HeaderSize {
		return data
	}
	data = bytes.Clone(data)
	copy(data[1:], wire.Preface)
	wire.PutHeader(data[start:], data[start+wire.HeaderSize:], 0)
	return data
}
