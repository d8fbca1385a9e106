package faulty

import (
	"fmt"
	"time"
)

// Direction is one of the two ways that bytes go, or both.
type Direction uint8

// The directions, as seen from the end that has the faults, which usually is the one that dials.
const (
	Out  Direction = 1 << iota // away from it: what it writes
	In                         // towards it: what it reads
	Both = Out | In
)

// String returns "out", "in" or "both".
func (d Direction) String() string {
	switch d {
	case 0:
		return "none"
	case Out:
		return "out"
	case In:
		return "in"
	case Both:
		return "both"
	}
	return fmt.Sprintf("Direction(%d)", uint8(d))
}

// Ending is a way in which a connection breaks.
type Ending uint8

// The endings.
const (
	// Reset ends the connection with an error, at both ends and at once. What was under way is
	// lost. The other end gets the error if the wrapped transport's connections are a [Resetter],
	// as those of memory, tcp and pipe.Loopback are; with others it sees a Hangup.
	Reset Ending = iota

	// Hangup closes the connection in the middle: what has passed arrives, followed by io.EOF.
	Hangup
)

// String returns "reset" or "hangup".
func (e Ending) String() string {
	switch e {
	case Reset:
		return "reset"
	case Hangup:
		return "hangup"
	}
	return fmt.Sprintf("Ending(%d)", uint8(e))
}

// Resetter is a connection that can be ended in such a way that the other end gets an error instead
// of io.EOF, and does not get what is under way. Like Close, Reset may be called from anywhere,
// any number of times, and unblocks Read and Write.
type Resetter interface{ Reset() error }

// Fault is something that happens to a connection. The functions of this package make faults. The
// position of a fault is how many bytes have gone in its direction since the connection was made
// when it happens; at 0 it happens before any byte.
type Fault struct {
	kind   kind
	dir    Direction
	at     int64
	ending Ending
	time   time.Duration
	mask   byte
	rate   float64
	size   int
}

type kind uint8

const (
	cuts kind = iota + 1
	stalls
	swallows
	flips
	flipsAtRandom
	delays
	splits
)

// CutAt breaks both directions of the connection when at bytes have gone in d. Exactly these bytes
// reach the other side; with [Reset] at most these.
func CutAt(d Direction, at int64, how Ending) Fault {
	check("CutAt", d, at)
	return Fault{kind: cuts, dir: d, at: at, ending: how}
}

// StallAt stops the direction for a time; if long is 0, until [Transport.Resume]. Nothing is lost.
func StallAt(d Direction, at int64, long time.Duration) Fault {
	check("StallAt", d, at)
	return Fault{kind: stalls, dir: d, at: at, time: long}
}

// SwallowAt makes all that follows in the direction vanish, as [Transport.Swallow] does.
func SwallowAt(d Direction, at int64) Fault {
	check("SwallowAt", d, at)
	return Fault{kind: swallows, dir: d, at: at}
}

// FlipAt inverts the bits of mask in the byte at a position; the first byte is at 0.
func FlipAt(d Direction, at int64, mask byte) Fault {
	check("FlipAt", d, at)
	return Fault{kind: flips, dir: d, at: at, mask: mask}
}

// FlipRate inverts one random bit of each byte with the probability rate.
func FlipRate(d Direction, rate float64) Fault {
	check("FlipRate", d, 0)
	return Fault{kind: flipsAtRandom, dir: d, rate: rate}
}

// Delay holds up each piece for a random time of at most longest. Order is kept, and a piece waits
// until the one before it has gone, so Delay also limits the throughput.
func Delay(d Direction, longest time.Duration) Fault {
	check("Delay", d, int64(longest))
	return Fault{kind: delays, dir: d, time: longest}
}

// Split lets at most size bytes pass at once: with 1 everything arrives byte by byte.
func Split(d Direction, size int) Fault {
	check("Split", d, int64(size)-1)
	return Fault{kind: splits, dir: d, size: size}
}

// check panics when a fault cannot be.
func check(function string, d Direction, at int64) {
	if d == 0 || d > Both {
		panic(fmt.Sprintf("faulty.%s: %v is not a direction: use Out, In or Both", function, d))
	}
	if at < 0 {
		panic(fmt.Sprintf("faulty.%s: the number %d is too small", function, at))
	}
}

// String says what happens, and where.
func (f Fault) String() string {
	switch f.kind {
	case cuts:
		return fmt.Sprintf("%v after %d bytes %v", f.ending, f.at, f.dir)
	case stalls:
		if f.time > 0 {
			return fmt.Sprintf("stall for %v after %d bytes %v", f.time, f.at, f.dir)
		}
		return fmt.Sprintf("stall after %d bytes %v", f.at, f.dir)
	case swallows:
		return fmt.Sprintf("black hole after %d bytes %v", f.at, f.dir)
	case flips:
		return fmt.Sprintf("byte %d %v changed by %#02x", f.at, f.dir, f.mask)
	case flipsAtRandom:
		return fmt.Sprintf("bits flipped at a rate of %g %v", f.rate, f.dir)
	case delays:
		return fmt.Sprintf("delay of at most %v %v", f.time, f.dir)
	case splits:
		return fmt.Sprintf("split into %d bytes %v", f.size, f.dir)
	}
	return "nothing"
}
