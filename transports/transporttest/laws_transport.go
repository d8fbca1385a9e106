package transporttest

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"

	"github.com/lahja-go/lahja"
)

// transportLaws are those of lahja.Transport and lahja.Listener.
var transportLaws = []law{
	{"DialNeedsListener", dialNeedsListener},
	{"DialAfterEndedContext", dialAfterEndedContext},
	{"ContextsBoundTheCallOnly", contextsBoundTheCallOnly},
	{"AddrStays", addrStays},
	{"CloseEndsAccept", closeEndsAccept},
	{"ListenerCloseAgain", listenerCloseAgain},
	{"AcceptedLiveOn", acceptedLiveOn},
	{"WaitingToBeAccepted", waitingToBeAccepted},
	{"ListenAgain", listenAgain},
	{"OneListener", oneListener},
	{"ManyConnections", manyConnections},
	{"NoGoroutineOfListener", noGoroutineOfListener},
}

var background = context.Background()

// dialNeedsListener: Dial fails while nobody listens, before the first Listen and after Close.
func dialNeedsListener(tr *trial) {
	tr.step("waiting for Dial to fail because nobody listens")
	if _, err := tr.dial(background); err == nil {
		tr.fatalf("Dial succeeded although nobody listened")
	}
	l := tr.listen()
	tr.through(l)
	tr.closeNow(l)
	tr.step("waiting for Dial to fail because nobody listens any more")
	if _, err := tr.dial(background); err == nil {
		tr.fatalf("Dial succeeded although the Listener was closed")
	}
}

// dialAfterEndedContext: Dial with a ctx that has ended fails although somebody listens.
func dialAfterEndedContext(tr *trial) {
	l := tr.listen()
	ctx, cancel := context.WithCancel(background)
	cancel()
	tr.step("waiting for Dial to fail because its ctx has ended")
	if _, err := tr.dial(ctx); err == nil {
		tr.fatalf("Dial succeeded although its ctx had ended")
	}
	tr.through(l)
}

// contextsBoundTheCallOnly: once Listen and Dial have returned, the end of their ctx means nothing.
func contextsBoundTheCallOnly(tr *trial) {
	ctx, cancel := context.WithCancel(background)
	defer cancel()
	tr.step("waiting for Listen")
	l, err := tr.transport.Listen(ctx)
	if err != nil {
		tr.fatalf("Listen failed: %v", err)
	}
	tr.own(l)
	var a, b lahja.Conn
	tr.all("waiting for Dial and Accept", func() (err error) {
		a, err = tr.dial(ctx)
		return err
	}, func() (err error) {
		b, err = tr.accept(l)
		return err
	})
	cancel()
	yield()
	tr.exchange("using a connection after the end of Dial's ctx", a, b)
	c, d := tr.through(l)
	tr.exchange("using a connection made after the end of Listen's ctx", c, d)
}

// exchange sends a little in both directions.
func (tr *trial) exchange(doing string, a, b lahja.Conn) {
	const size = 1000
	tr.all(doing,
		func() error { return send(a, tr.seed, size, atRandom(tr.seed)) },
		func() error { return expect(b, tr.seed, size, atRandom(tr.seed+1)) },
		func() error { return send(b, tr.seed+1, size, atRandom(tr.seed+2)) },
		func() error { return expect(a, tr.seed+1, size, atRandom(tr.seed+3)) })
}

// addrStays: Addr is not empty and does not change, not even by Close.
func addrStays(tr *trial) {
	l := tr.listen()
	before := l.Addr()
	if before == "" {
		tr.fatalf("Addr is empty")
	}
	tr.through(l)
	tr.closeNow(l)
	if after := l.Addr(); after != before {
		tr.fatalf("Addr was %q and is %q after Close", before, after)
	}
}

// closeEndsAccept: Close ends every waiting Accept, and every later one, with net.ErrClosed.
func closeEndsAccept(tr *trial) {
	l := tr.listen()
	ends := func() error {
		c, err := tr.accept(l)
		if !errors.Is(err, net.ErrClosed) {
			return fmt.Errorf("after Close Accept returned %v and the error %v, which does not "+
				"match net.ErrClosed", c, err)
		}
		return nil
	}
	tr.all("waiting for Close to end Accept", ends, ends, ends, func() error {
		yield()
		return l.Close()
	})
	tr.all("waiting for Accept after Close", ends)
}

// listenerCloseAgain: any number may call Close, at once and again; all but the first return nil.
func listenerCloseAgain(tr *trial) {
	l := tr.listen()
	tr.all("closing a Listener a hundred times at once", func() error { return closesAgain(l) })
}

// closesAgain closes c a hundred times at once, and once more.
func closesAgain(c io.Closer) error {
	const calls = 100
	results := make(chan error, calls)
	start := make(chan struct{})
	for range calls {
		go func() {
			<-start
			results <- c.Close()
		}()
	}
	close(start)
	failed := 0
	for range calls {
		if err := <-results; err != nil {
			failed++
		}
	}
	if failed > 1 {
		return fmt.Errorf("%d of %d concurrent calls of Close failed", failed, calls)
	}
	if err := c.Close(); err != nil {
		return finding("Close after Close failed: %w", err)
	}
	return nil
}

// acceptedLiveOn: connections that were accepted outlive their Listener.
func acceptedLiveOn(tr *trial) {
	l := tr.listen()
	a, b := tr.through(l)
	c, d := tr.through(l)
	tr.closeNow(l)
	tr.exchange("using a connection after the Listener's Close", a, b)
	tr.exchange("using another connection after the Listener's Close", c, d)
}

// waitingToBeAccepted: who has dialled and was not accepted learns of the Listener's Close.
func waitingToBeAccepted(tr *trial) {
	l := tr.listen()
	tr.all("waiting for the Listener's Close to end what it had not accepted", func() error {
		c, err := tr.dial(background)
		if err != nil {
			return nil
		}
		return expectFailure(c)
	}, func() error {
		yield()
		return l.Close()
	})
}

// listenAgain: after Close the place is free, also while the old Listener's connections live.
func listenAgain(tr *trial) {
	for range 3 {
		l := tr.listen()
		a, b := tr.through(l)
		tr.exchange("using a connection of a Listener at a place used before", a, b)
		tr.closeNow(l)
	}
}

// oneListener: while a Listener is open a second Listen fails, and the first still works.
func oneListener(tr *trial) {
	l := tr.listen()
	tr.step("waiting for a second Listen to fail")
	second, err := tr.transport.Listen(background)
	if err == nil {
		tr.own(second)
		tr.fatalf("a second Listen succeeded while the first Listener was open")
	}
	a, b := tr.through(l)
	tr.exchange("using the first Listener after a second Listen", a, b)
}

// manyConnections: many connections may be dialled at once, and each carries its own bytes.
func manyConnections(tr *trial) {
	const connections = 64
	l := tr.listen()
	var sides []func() error
	for i := range connections {
		sides = append(sides, func() error {
			c, err := tr.dial(background)
			if err != nil {
				return err
			}
			return tr.caller(c, uint64(i))
		}, func() error {
			c, err := tr.accept(l)
			if err != nil {
				return err
			}
			return tr.callee(c)
		})
	}
	tr.all("using many connections at once", sides...)
}

// Each of many connections carries this much, after its number.
const (
	numberSize = 8
	callSize   = 20_000
)

// caller says its number, sends the text that belongs to it and expects another back.
func (tr *trial) caller(c lahja.Conn, number uint64) error {
	if err := write(c, binary.BigEndian.AppendUint64(nil, number)); err != nil {
		return err
	}
	seed := tr.seed + 2*number
	if err := send(c, seed, callSize, atRandom(seed)); err != nil {
		return err
	}
	return expect(c, seed+1, callSize, atRandom(seed))
}

// callee is the other side of caller, whichever that is.
func (tr *trial) callee(c lahja.Conn) error {
	number := make([]byte, numberSize)
	if _, err := io.ReadFull(c, number); err != nil {
		return finding("Read failed: %w", err)
	}
	seed := tr.seed + 2*binary.BigEndian.Uint64(number)
	if err := expect(c, seed, callSize, atRandom(seed+1)); err != nil {
		return err
	}
	return send(c, seed+1, callSize, atRandom(seed+1))
}

// noGoroutineOfListener: what Listen, Dial and Accept start has ended once everything is closed.
func noGoroutineOfListener(tr *trial) {
	tr.leavesNone(func() {
		ended, cancel := context.WithCancel(background)
		cancel()
		tr.step("dialling where nobody listens")
		tr.dial(background)
		l := tr.listen()
		tr.step("dialling with a ctx that has ended")
		tr.dial(ended)
		for range 8 {
			tr.through(l)
		}
		tr.all("waiting for Close to end Accept", func() error {
			tr.accept(l)
			return nil
		}, func() error {
			yield()
			return l.Close()
		})
	})
}
