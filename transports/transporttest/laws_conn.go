package transporttest

import (
	"bytes"
	"fmt"
	"io"
	"reflect"
	"sync/atomic"
	"time"

	"github.com/lahja-go/lahja"
)

// connLaws are those of lahja.Conn.
var connLaws = []law{
	{"BothDirections", bothDirections},
	{"SingleBytes", singleBytes},
	{"LargeWrite", largeWrite},
	{"EmptyReadAndWrite", emptyReadAndWrite},
	{"WriteKeepsNothing", writeKeepsNothing},
	{"ReadKeepsNothing", readKeepsNothing},
	{"OneByteNeedsNoReader", oneByteNeedsNoReader},
	{"DirectionsAreIndependent", directionsAreIndependent},
	{"CloseEndsRead", closeEndsRead},
	{"CloseEndsWrite", closeEndsWrite},
	{"ConnCloseAgain", connCloseAgain},
	{"NothingAfterClose", nothingAfterClose},
	{"WrittenBeforeClose", writtenBeforeClose},
	{"CloseWithUnread", closeWithUnread},
	{"CloseWhilePeerWrites", closeWhilePeerWrites},
	{"CloseEndsPeersRead", closeEndsPeersRead},
	{"WriteToClosedFails", writeToClosedFails},
	{"IdentityStays", identityStays},
	{"NoGoroutineOfConn", noGoroutineOfConn},
}

// bothDirections: bytes arrive once each and in order, both ways at once, however they are cut.
func bothDirections(tr *trial) {
	const size = 1 << 20
	a, b := tr.pair()
	tr.all("sending both ways at once",
		func() error { return send(a, tr.seed, size, atRandom(tr.seed)) },
		func() error { return expect(b, tr.seed, size, atRandom(tr.seed+1)) },
		func() error { return send(b, tr.seed+1, size, atRandom(tr.seed+2)) },
		func() error { return expect(a, tr.seed+1, size, atRandom(tr.seed+3)) })
}

// singleBytes: a single byte arrives without a further Write, and many of them in order.
func singleBytes(tr *trial) {
	const turns, size = 300, 3000
	a, b := tr.pair()
	tr.all("sending one byte to and fro", func() error {
		for i := range uint64(turns) {
			if err := send(a, i, 1, exactly(1)); err != nil {
				return err
			}
			if err := expect(a, i+1, 1, exactly(1)); err != nil {
				return err
			}
		}
		return nil
	}, func() error {
		for i := range uint64(turns) {
			if err := expect(b, i, 1, exactly(1)); err != nil {
				return err
			}
			if err := send(b, i+1, 1, exactly(1)); err != nil {
				return err
			}
		}
		return nil
	})
	tr.all("sending many single bytes",
		func() error { return send(a, tr.seed, size, exactly(1)) },
		func() error { return expect(b, tr.seed, size, exactly(1)) })
}

// largeWrite: one Write may be larger than any buffer on the way.
func largeWrite(tr *trial) {
	const size = 8 << 20
	a, b := tr.pair()
	tr.all("sending 8 MiB by one Write",
		func() error { return send(a, tr.seed, size, exactly(size)) },
		func() error { return expect(b, tr.seed, size, exactly(1<<20)) })
}

// emptyReadAndWrite: Read and Write of no bytes do nothing, succeed, and do not wait.
func emptyReadAndWrite(tr *trial) {
	a, b := tr.pair()
	nothing := func(when string) {
		tr.step("waiting for a Read of no bytes " + when)
		if n, err := a.Read(nil); n != 0 || err != nil {
			tr.fatalf("Read of no bytes %s returned %d and the error %v", when, n, err)
		}
		tr.step("waiting for a Write of no bytes " + when)
		if n, err := b.Write(nil); n != 0 || err != nil {
			tr.fatalf("Write of no bytes %s returned %d and the error %v", when, n, err)
		}
	}
	nothing("before anything was written")
	tr.all("writing one byte", func() error { return send(b, tr.seed, 1, exactly(1)) })
	nothing("while one byte waits to be read")
	tr.all("reading the one byte", func() error { return expect(a, tr.seed, 1, exactly(1)) })
	nothing("after everything was read")
	tr.exchange("using the connection after that", a, b)
}

// writeKeepsNothing: Write leaves its slice as it is, and needs it no more once it has returned.
func writeKeepsNothing(tr *trial) {
	const rounds, size = 64, 2000
	a, b := tr.pair()
	tr.all("overwriting a slice after each Write", func() error {
		source := text(tr.seed)
		p := make([]byte, size)
		for range rounds {
			source.Read(p)
			before := bytes.Clone(p)
			if err := write(a, p); err != nil {
				return err
			}
			if !bytes.Equal(p, before) {
				return finding("Write changed the slice that it was given")
			}
			clear(p)
		}
		return a.Close()
	}, func() error {
		if err := expect(b, tr.seed, rounds*size, atRandom(tr.seed)); err != nil {
			return err
		}
		return expectEnd(b)
	})
}

// readKeepsNothing: Read no longer touches its slice once it has returned.
func readKeepsNothing(tr *trial) {
	const size = 100_000
	a, b := tr.pair()
	tr.all("looking again at what was read", func() error {
		return send(a, tr.seed, size, atRandom(tr.seed))
	}, func() error {
		var kept, copies [][]byte
		for got := 0; got < size; {
			p := make([]byte, min(1000, size-got))
			n, err := read(b, p)
			if err != nil {
				return finding("Read failed: %w", err)
			}
			got += n
			kept, copies = append(kept, p), append(copies, bytes.Clone(p))
		}
		for i := range kept {
			if !bytes.Equal(kept[i], copies[i]) {
				return finding("Read number %d changed its slice after it had returned", i)
			}
		}
		return nil
	})
}

// oneByteNeedsNoReader: two sides that write first are not stuck.
func oneByteNeedsNoReader(tr *trial) {
	a, b := tr.pair()
	tr.step("waiting for Write of one byte that nobody reads yet")
	for _, c := range []lahja.Conn{a, b} {
		if err := send(c, tr.seed, 1, exactly(1)); err != nil {
			tr.fatalf("%v", err)
		}
	}
	tr.all("reading the two bytes",
		func() error { return expect(a, tr.seed, 1, exactly(1)) },
		func() error { return expect(b, tr.seed, 1, exactly(1)) })
}

// directionsAreIndependent: a Write that waits does not hold up what comes the other way.
func directionsAreIndependent(tr *trial) {
	const size = 1 << 20
	a, b := tr.pair()
	var written atomic.Int64
	tr.all("sending against a direction that nobody reads", func() error {
		return flood(a, &written)
	}, func() error {
		untilStill(&written)
		return send(b, tr.seed, size, atRandom(tr.seed))
	}, func() error {
		untilStill(&written)
		if err := expect(a, tr.seed, size, atRandom(tr.seed+1)); err != nil {
			return err
		}
		return a.Close()
	})
}

// flood writes until Write fails, which is what it is for, and counts the bytes.
func flood(c lahja.Conn, written *atomic.Int64) error {
	chunk := make([]byte, 32<<10)
	for {
		n, err := c.Write(chunk)
		if n < 0 || n > len(chunk) || (n < len(chunk) && err == nil) {
			return finding("Write of %d bytes returned %d and the error %v", len(chunk), n, err)
		}
		written.Add(int64(n))
		if err != nil {
			clear(chunk) // the race detector sees who still reads it
			return nil
		}
	}
}

// closeEndsRead: Close ends a waiting Read on its own side.
func closeEndsRead(tr *trial) {
	for range 8 {
		a, _ := tr.pair()
		tr.all("waiting for Close to end a Read on its side", func() error {
			p := make([]byte, 100)
			n, err := read(a, p)
			clear(p) // the race detector sees who still writes it
			if n != 0 || err == nil {
				return finding("Read returned %d and the error %v", n, err)
			}
			return nil
		}, func() error {
			yield()
			return a.Close()
		})
	}
}

// closeEndsWrite: Close ends a waiting Write on its own side, and does not wait for the other side.
func closeEndsWrite(tr *trial) {
	for range 3 {
		a, _ := tr.pair()
		var written atomic.Int64
		tr.all("waiting for Close to end a Write on its side", func() error {
			return flood(a, &written)
		}, func() error {
			untilStill(&written)
			return a.Close()
		})
	}
}

// connCloseAgain: the same for a Conn, while Read and Write wait; these end.
func connCloseAgain(tr *trial) {
	a, b := tr.pair()
	var written atomic.Int64
	tr.all("closing a connection a hundred times at once", func() error {
		return flood(a, &written)
	}, func() error {
		return expectFailure(a)
	}, func() error {
		untilStill(&written)
		return closesAgain(a)
	})
	tr.all("closing the other side as often", func() error { return closesAgain(b) })
}

// nothingAfterClose: Read and Write fail after Close, also when there was something to read.
func nothingAfterClose(tr *trial) {
	a, b := tr.pair()
	tr.all("writing one byte", func() error { return send(b, tr.seed, 1, exactly(1)) })
	yield()
	tr.closeNow(a)
	tr.step("waiting for Read and Write to fail after Close")
	for range 2 {
		if n, err := a.Read(make([]byte, 1)); n != 0 || err == nil {
			tr.fatalf("Read after Close returned %d and the error %v", n, err)
		}
		if n, err := a.Write(make([]byte, 1)); n != 0 || err == nil {
			tr.fatalf("Write after Close returned %d and the error %v", n, err)
		}
	}
}

// writtenBeforeClose: what was written before Close is delivered, and after it comes io.EOF.
func writtenBeforeClose(tr *trial) {
	for _, size := range []int{0, 1, 1000, 300_000} {
		a, b := tr.pair()
		tr.all(fmt.Sprintf("closing after %d bytes", size), func() error {
			if err := send(a, tr.seed, size, atRandom(tr.seed)); err != nil {
				return err
			}
			return a.Close()
		}, func() error {
			if err := expect(b, tr.seed, size, atRandom(tr.seed+1)); err != nil {
				return err
			}
			return expectEnd(b)
		})
	}
}

// closeWithUnread: the same, when the side that closes has not read all that it was sent.
func closeWithUnread(tr *trial) {
	a, b := tr.pair()
	tr.all("writing what nobody will read", func() error {
		return send(b, tr.seed, 1000, exactly(1000))
	}, func() error {
		return expect(a, tr.seed, 500, exactly(500))
	})
	tr.tailArrives("closing with something unread", a, b)
}

// closeWhilePeerWrites: the same, when the other side goes on writing meanwhile.
func closeWhilePeerWrites(tr *trial) {
	a, b := tr.pair()
	var written atomic.Int64
	tr.tailArrives("closing while the other side writes", a, b, func() error {
		return flood(b, &written)
	})
}

// headStart is how long a side that writes and closes is given before the other begins to read. One
// that cannot close without a reader needs it in full.
const headStart = 250 * time.Millisecond

// tailArrives sends from a and closes it while others do what they do. It starts to read at b when
// a has closed, if a can do so by itself: then as much as possible is still under way.
func (tr *trial) tailArrives(doing string, a, b lahja.Conn, others ...func() error) {
	const size = 300_000
	closed := make(chan struct{})
	tr.all(doing, append(others, func() error {
		defer close(closed)
		if err := send(a, tr.seed, size, atRandom(tr.seed)); err != nil {
			return err
		}
		return a.Close()
	}, func() error {
		select {
		case <-closed:
		case <-time.After(headStart):
		}
		if err := expect(b, tr.seed, size, atRandom(tr.seed+1)); err != nil {
			return err
		}
		if err := expectEnd(b); err != nil {
			return err
		}
		return b.Close()
	})...)
}

// closeEndsPeersRead: a Read that waits while the other side closes returns io.EOF.
func closeEndsPeersRead(tr *trial) {
	for range 8 {
		a, b := tr.pair()
		tr.all("waiting for Close to end a Read on the other side", func() error {
			return expectEnd(b)
		}, func() error {
			yield()
			return a.Close()
		})
	}
}

// writeToClosedFails: Write fails, sooner or later, once the other side has closed.
func writeToClosedFails(tr *trial) {
	a, b := tr.pair()
	tr.closeNow(a)
	tr.all("waiting for Write to fail because the other side has closed", func() error {
		var written atomic.Int64
		return flood(b, &written)
	})
}

// identityStays: Identity is constant, before and after Close, and may be asked for at any time.
func identityStays(tr *trial) {
	a, b := tr.pair()
	for _, c := range []lahja.Conn{a, b} {
		first := c.Identity()
		if first.Transport == "" {
			tr.fatalf("Identity does not name the transport: %+v", first)
		}
		asks := func() error {
			for range 100 {
				if now := c.Identity(); !reflect.DeepEqual(now, first) {
					return finding("Identity was %+v and is now %+v", first, now)
				}
			}
			return nil
		}
		tr.all("asking for Identity", asks, asks, asks, func() error {
			yield()
			return c.Close()
		})
		tr.all("asking for Identity after Close", asks)
	}
}

// noGoroutineOfConn: what a connection has started has ended once both sides are closed.
func noGoroutineOfConn(tr *trial) {
	tr.leavesNone(func() {
		for range 4 {
			a, b := tr.pair()
			tr.exchange("using a connection", a, b)
			tr.all("waiting for Close to end Read", func() error {
				return expectFailure(a)
			}, func() error {
				_, err := io.Copy(io.Discard, b)
				return err
			}, func() error {
				yield()
				return a.Close()
			})
		}
	})
}
