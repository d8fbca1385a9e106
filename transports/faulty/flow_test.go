package faulty_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/lahja-go/lahja"
	"github.com/lahja-go/lahja/transports/faulty"
	"github.com/lahja-go/lahja/transports/memory"
)

// carry writes content at one end in pieces of the sizes given, over and over, then closes that
// end, and returns what the other end reads and why it ends.
func carry(from, to lahja.Conn, content []byte, sizes []int) (got []byte, err error) {
	var writing sync.WaitGroup
	writing.Go(func() {
		defer from.Close()
		for i := 0; len(content) > 0; i++ {
			n, err := from.Write(content[:min(len(content), sizes[i%len(sizes)])])
			content = content[n:]
			if err != nil {
				return
			}
		}
	})
	got, err = io.ReadAll(to)
	to.Close()
	writing.Wait()
	return got, err
}

// ends orders the ends of a connection by who writes: the faults are at a.
func ends(d faulty.Direction, a, b lahja.Conn) (from, to lahja.Conn) {
	if d == faulty.Out {
		return a, b
	}
	return b, a
}

var (
	anyContent   = rapid.SliceOfN(rapid.Byte(), 0, 3000)
	anySizes     = rapid.SliceOfN(rapid.IntRange(1, 700), 1, 8)
	anyDirection = rapid.SampledFrom([]faulty.Direction{faulty.Out, faulty.In})
	anyEnding    = rapid.SampledFrom([]faulty.Ending{faulty.Reset, faulty.Hangup})
)

// A cut is at its byte, however the bytes are written: not one more gets through, and with a hangup
// not one less.
func TestPropertyCutAt(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		content, sizes := anyContent.Draw(r, "content"), anySizes.Draw(r, "sizes")
		d, how := anyDirection.Draw(r, "direction"), anyEnding.Draw(r, "ending")
		at := rapid.IntRange(0, len(content)).Draw(r, "at")
		wire, a, b := over(t, faulty.CutAt(d, int64(at), how))
		from, to := ends(d, a, b)
		got, err := carry(from, to, content, sizes)
		if !bytes.HasPrefix(content[:at], got) {
			r.Errorf("%d bytes arrived, or others than were written; the cut was at %d",
				len(got), at)
		}
		if how == faulty.Hangup && (len(got) != at || err != nil) {
			r.Errorf("%d bytes arrived, then %v; want %d and io.EOF", len(got), err, at)
		}
		if how == faulty.Reset && !errors.Is(err, syscall.ECONNRESET) {
			r.Errorf("the end is %v, want ECONNRESET", err)
		}
		if stats := wire.Stats(); stats.Cut != 1 {
			r.Errorf("%d cuts are counted, want 1", stats.Cut)
		}
	})
}

// The bytes that are to change do, by their mask, and no others.
func TestPropertyFlipAt(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		content, sizes := anyContent.Draw(r, "content"), anySizes.Draw(r, "sizes")
		d := anyDirection.Draw(r, "direction")
		want, flipped := bytes.Clone(content), uint64(0)
		var faults []faulty.Fault
		for range rapid.IntRange(0, 5).Draw(r, "flips") {
			at := rapid.IntRange(0, 3000).Draw(r, "at")
			mask := rapid.Byte().Draw(r, "mask")
			faults = append(faults, faulty.FlipAt(d, int64(at), mask))
			if at < len(want) {
				want[at] ^= mask
				flipped++
			}
		}
		before := bytes.Clone(content)
		wire, a, b := over(t, faults...)
		from, to := ends(d, a, b)
		got, err := carry(from, to, content, sizes)
		if err != nil || !bytes.Equal(got, want) {
			r.Errorf("arrived as %x, %v, want %x", got, err, want)
		}
		if !bytes.Equal(content, before) {
			r.Errorf("what was given to Write has changed")
		}
		if got := wire.Stats().Flipped; got != flipped {
			r.Errorf("%d flips are counted, want %d", got, flipped)
		}
	})
}

// A seed flips the same bits, however the bytes are written, and about as many as the rate says.
func TestFlipRate(t *testing.T) {
	const size, rate = 100_000, 0.01
	arrives := func(seed uint64, d faulty.Direction, sizes ...int) []byte {
		wire := faulty.New(memory.New(), seed, planned(faulty.FlipRate(d, rate)))
		a, b := dial(t, wire)
		from, to := ends(d, a, b)
		got, err := carry(from, to, make([]byte, size), sizes)
		if err != nil || len(got) != size {
			t.Fatalf("%d bytes arrived, %v", len(got), err)
		}
		return got
	}
	for _, d := range []faulty.Direction{faulty.Out, faulty.In} {
		once, again := arrives(5, d, 10_000), arrives(5, d, 17, 1000, 3)
		if !bytes.Equal(once, again) {
			t.Errorf("%v: one seed flips different bits", d)
		}
		if bytes.Equal(once, arrives(6, d, 10_000)) {
			t.Errorf("%v: two seeds flip the same bits", d)
		}
		flipped := size - bytes.Count(once, []byte{0})
		if flipped < size*rate/2 || flipped > size*rate*2 {
			t.Errorf("%v: %d of %d bytes are flipped, want about %v", d, flipped, size, size*rate)
		}
	}
	all := faulty.New(memory.New(), 1, planned(faulty.FlipRate(faulty.Out, 1)))
	a, b := dial(t, all)
	got, _ := carry(a, b, make([]byte, 100), []int{9})
	if bytes.Contains(got, []byte{0}) || len(got) != 100 {
		t.Errorf("at a rate of 1 arrives %x", got)
	}
}

// sizesOf is a connection that notes how much is written at once.
type sizesOf struct {
	lahja.Conn
	largest int
}

func (c *sizesOf) Write(p []byte) (int, error) {
	c.largest = max(c.largest, len(p))
	return c.Conn.Write(p)
}

// Byte by byte, in both directions, everything still arrives.
func TestSplit(t *testing.T) {
	content := bytes.Repeat([]byte("byte by byte "), 1000)
	wire, bare, b := over(t)
	inner := &sizesOf{Conn: bare}
	single := faulty.New(nil, 1, planned(faulty.Split(faulty.Both, 1)))
	got, err := carry(single.Conn(inner), b, content, []int{999})
	if err != nil || !bytes.Equal(got, content) || inner.largest != 1 {
		t.Errorf("%d bytes arrived, %v; at once at most %d, want 1", len(got), err, inner.largest)
	}
	bare, b = dial(t, wire)
	a := single.Conn(bare)
	defer a.Close()
	mustWrite(t, b, "ab")
	for _, want := range "ab" {
		p := make([]byte, 9)
		if n, err := a.Read(p); n != 1 || p[0] != byte(want) || err != nil {
			t.Errorf("read %q, %v, want %c", p[:n], err, want)
		}
	}
}

// Each piece takes some time, and never more than the longest.
func TestDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const longest = time.Second
		wire, a, b := over(t, faulty.Delay(faulty.Both, longest))
		for range 100 {
			for _, d := range []faulty.Direction{faulty.Out, faulty.In} {
				from, to := ends(d, a, b)
				began := time.Now()
				mustWrite(t, from, "tick")
				wantRead(t, to, "tick")
				if took := time.Since(began); took > longest {
					t.Errorf("a piece took %v", took)
				}
			}
		}
		began := time.Now()
		for range 100 {
			mustWrite(t, a, "x")
		}
		if took := time.Since(began); took < 30*longest || took > 70*longest {
			t.Errorf("100 pieces took %v, want about %v\n%v", took, 50*longest, wire)
		}
		go func() {
			time.Sleep(time.Microsecond)
			a.Close() // ends a delay
		}()
		_, err := io.Copy(a, endless{})
		if !errors.Is(err, net.ErrClosed) {
			t.Errorf("Write during Close: %v, want net.ErrClosed", err)
		}
	})
}

// A stall loses nothing and holds up one direction alone, from its byte on, for as long as it says.
func TestStallAt(t *testing.T) {
	for _, d := range []faulty.Direction{faulty.Out, faulty.In} {
		synctest.Test(t, func(t *testing.T) {
			const long = time.Hour
			_, a, b := over(t, faulty.StallAt(d, 5, long))
			from, to := ends(d, a, b)
			began := time.Now()
			go io.WriteString(from, "firstthen")
			wantRead(t, to, "first")
			mustWrite(t, to, "the other way")
			wantRead(t, from, "the other way")
			if took := time.Since(began); took != 0 {
				t.Errorf("%v: what is not stalled took %v", d, took)
			}
			wantRead(t, to, "then")
			if took := time.Since(began); took != long {
				t.Errorf("%v: what is stalled took %v, want %v", d, took, long)
			}
		})
	}
}

// Stall stops what there is and what comes; Resume lets it go on; Close unblocks what waits.
func TestStall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		wire, a, b := over(t)
		wire.Stall(faulty.Out)
		c, d := dial(t, wire)
		var arrived [2]string
		for i, pair := range [][2]lahja.Conn{{a, b}, {c, d}} {
			go io.WriteString(pair[0], "late")
			go func() {
				p := make([]byte, 4)
				n, _ := io.ReadFull(pair[1], p)
				arrived[i] = string(p[:n])
			}()
		}
		time.Sleep(time.Hour)
		if arrived != [2]string{} {
			t.Fatalf("arrived in spite of the stall: %q", arrived)
		}
		wire.Resume()
		synctest.Wait()
		if arrived != [2]string{"late", "late"} {
			t.Fatalf("arrived after Resume: %q", arrived)
		}
		if got := wire.Stats().Stalled; got != 2 {
			t.Errorf("%d stalls are counted, want 2", got)
		}
		wire.Stall(faulty.Both)
		failed := make(chan error)
		go func() {
			_, err := io.WriteString(a, "never")
			failed <- err
		}()
		synctest.Wait()
		a.Close()
		if err := <-failed; !errors.Is(err, net.ErrClosed) {
			t.Errorf("Write during Close: %v, want net.ErrClosed", err)
		}
	})
}

// A stalled wire does not deliver the end either: the other side hears of a Close after Resume, or
// when the stall is over by itself.
func TestCloseInStall(t *testing.T) {
	for name, end := range map[string]func(*faulty.Transport){
		"resumed": func(wire *faulty.Transport) { wire.Resume() },
		"over":    func(*faulty.Transport) { time.Sleep(2 * time.Hour) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				wire, a, b := over(t, faulty.StallAt(faulty.Out, 0, 2*time.Hour))
				ended := readsEnd(b)
				a.Close()
				time.Sleep(time.Hour)
				if err := ended(); err != nil {
					t.Fatalf("the end came through: %v", err)
				}
				end(wire)
				if err := ended(); err != io.EOF {
					t.Errorf("the end is %v, want io.EOF", err)
				}
			})
		})
	}
}

// readsEnd reads until the connection ends. The function says how it has, once nothing moves.
func readsEnd(c lahja.Conn) func() error {
	ended := make(chan error, 1)
	go func() {
		_, err := io.Copy(io.Discard, onlyRead{c})
		if err == nil {
			err = io.EOF
		}
		ended <- err
	}()
	return func() error {
		synctest.Wait()
		select {
		case err := <-ended:
			return err
		default:
			return nil
		}
	}
}

type onlyRead struct{ io.Reader }

// A black hole takes everything and delivers nothing, in its direction, not even the end.
func TestSwallow(t *testing.T) {
	for _, d := range []faulty.Direction{faulty.Out, faulty.In} {
		synctest.Test(t, func(t *testing.T) {
			wire, a, b := over(t)
			from, to := ends(d, a, b)
			mustWrite(t, from, "seen")
			wantRead(t, to, "seen")
			wire.Swallow(d)
			ended := readsEnd(to)
			mustWrite(t, from, strings.Repeat("gone", 100_000))
			mustWrite(t, to, "the other way")
			wantRead(t, from, "the other way")
			from.Close()
			time.Sleep(time.Hour)
			if err := ended(); err != nil {
				t.Fatalf("%v: the end came through: %v", d, err)
			}
			if got := wire.Stats().Swallowed; got != 400_000 {
				t.Errorf("%v: %d swallowed bytes are counted, want 400000", d, got)
			}
			to.Close()
		})
	}
}

// Who was not told of a Close goes on for as long as it likes: what it sends is thrown away. Resume
// and Cut tell it.
func TestCloseInBlackHole(t *testing.T) {
	for _, c := range []struct {
		name string
		end  func(*faulty.Transport)
		want error
	}{
		{"resumed", (*faulty.Transport).Resume, io.EOF},
		{"reset", func(w *faulty.Transport) { w.Cut(faulty.Reset) }, syscall.ECONNRESET},
		{"hangup", func(w *faulty.Transport) { w.Cut(faulty.Hangup) }, io.EOF},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				wire, a, b := over(t, faulty.SwallowAt(faulty.Out, 4))
				ended := readsEnd(b)
				mustWrite(t, a, "seengone")
				for range 3 {
					a.Close()
				}
				mustWrite(t, b, strings.Repeat("to nobody", 100_000))
				if err := ended(); err != nil {
					t.Fatalf("the end came through: %v", err)
				}
				c.end(wire)
				if err := ended(); !errors.Is(err, c.want) {
					t.Errorf("the end is %v, want %v", err, c.want)
				}
			})
		})
	}
}

// When the one who was not told closes, nothing of the connection is left: the bubble would see a
// goroutine.
func TestBlackHoleLeavesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		wire, a, b := over(t)
		wire.Swallow(faulty.Both)
		a.Close()
		synctest.Wait()
		b.Close()
		synctest.Wait()
		if n := wire.Cut(faulty.Reset); n != 0 {
			t.Errorf("%d connections are left", n)
		}
	})
}

// Resume ends a black hole that nothing fell into; one that has lost something stays as it is.
func TestResumeAfterSwallow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		wire, a, b := over(t)
		c, d := dial(t, wire)
		wire.Swallow(faulty.Out)
		mustWrite(t, c, "lost")
		wire.Resume()
		mustWrite(t, a, "whole")
		wantRead(t, b, "whole")
		ended := readsEnd(d)
		mustWrite(t, c, "more")
		time.Sleep(time.Hour)
		if err := ended(); err != nil || wire.Stats().Swallowed != 8 {
			t.Errorf("the wire delivers again: %v\n%v", err, wire)
		}
	})
}

// The text for a failing test says the seed, what happened, and where.
func TestString(t *testing.T) {
	wire := faulty.New(memory.New(), 42, planned(faulty.FlipAt(faulty.Out, 1, 0xff),
		faulty.StallAt(faulty.In, 0, time.Microsecond), faulty.SwallowAt(faulty.In, 3),
		faulty.CutAt(faulty.Out, 5, faulty.Hangup)))
	a, _ := dial(t, wire)
	io.WriteString(a, "hello, world")
	dial(t, wire)
	wire.Stall(faulty.In)
	wire.Refuse(true)
	wire.Resume()
	wire.Cut(faulty.Reset)
	for _, want := range []string{
		"seed 42", "connection 1: byte 1 out changed by 0xff, to 0x9a",
		"connection 1: stall for 1µs after 0 bytes in", "connection 1: hangup after 5 bytes out",
		"connection 2: reset by Cut, after 0 bytes out and 0 in",
		"Stall in", "Refuse true", "Resume",
	} {
		if got := wire.String(); !strings.Contains(got, want) {
			t.Errorf("it does not say %q:\n%s", want, got)
		}
	}
	for range 300 {
		wire.Resume()
	}
	if got := strings.Count(wire.String(), "\n"); got > 102 {
		t.Errorf("it has %d lines", got)
	}
}

// Each fault says what it is.
func TestFaultString(t *testing.T) {
	for want, f := range map[string]faulty.Fault{
		"reset after 7 bytes out":           faulty.CutAt(faulty.Out, 7, faulty.Reset),
		"stall after 7 bytes in":            faulty.StallAt(faulty.In, 7, 0),
		"black hole after 7 bytes both":     faulty.SwallowAt(faulty.Both, 7),
		"byte 7 in changed by 0x80":         faulty.FlipAt(faulty.In, 7, 0x80),
		"bits flipped at a rate of 0.5 out": faulty.FlipRate(faulty.Out, 0.5),
		"delay of at most 1s both":          faulty.Delay(faulty.Both, time.Second),
		"split into 3 bytes in":             faulty.Split(faulty.In, 3),
		"nothing":                           {},
		"Ending(9) after 0 bytes out":       faulty.CutAt(faulty.Out, 0, 9),
	} {
		if got := f.String(); got != want {
			t.Errorf("String() = %q, want %q", got, want)
		}
	}
}

// What cannot be is refused where it is written down.
func TestImpossibleFaults(t *testing.T) {
	for name, f := range map[string]func(){
		"no direction":      func() { faulty.CutAt(0, 1, faulty.Reset) },
		"unknown direction": func() { faulty.SwallowAt(4, 1) },
		"negative position": func() { faulty.FlipAt(faulty.In, -1, 1) },
		"no size":           func() { faulty.Split(faulty.In, 0) },
		"negative delay":    func() { faulty.Delay(faulty.Out, -1) },
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("no panic")
				}
			}()
			f()
		})
	}
}
