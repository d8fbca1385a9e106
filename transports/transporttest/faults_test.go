package transporttest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/lahja-go/lahja"
	"github.com/lahja-go/lahja/transports/memory"
)

// fault is one way to be wrong, the law that must find it, the limit that is fit for how it shows,
// and what the law must say.
type fault struct {
	name   string
	law    string
	limit  time.Duration
	says   string
	breaks func(*faulty)
}

// A fault shows when something fails, when something hangs until the limit, or when something is
// still there after a sixth of the limit.
const (
	fails = usualLimit
	hangs = 3 * time.Second
	stays = 12 * time.Second
)

// listenerFaults are those of transports and Listeners.
var listenerFaults = []fault{
	{
		"connects to nobody", "DialNeedsListener", fails, "although nobody listened",
		func(f *faulty) {
			f.dial = func(ctx context.Context) (lahja.Conn, error) {
				c, err := f.rightDial(ctx)
				if errors.Is(err, syscall.ECONNREFUSED) {
					a, _, err := viaPipe()
					return a, err
				}
				return c, err
			}
		},
	}, {
		"waits for a Listener", "DialNeedsListener", hangs, "waiting for Dial to fail",
		func(f *faulty) {
			f.dial = func(ctx context.Context) (lahja.Conn, error) {
				c, err := f.rightDial(ctx)
				if errors.Is(err, syscall.ECONNREFUSED) {
					<-f.released
				}
				return c, err
			}
		},
	}, {
		"dials in spite of its ctx", "DialAfterEndedContext", fails, "its ctx had ended",
		func(f *faulty) {
			f.dial = func(ctx context.Context) (lahja.Conn, error) {
				return f.rightDial(context.WithoutCancel(ctx))
			}
		},
	}, {
		"connection ends with Dial's ctx", "ContextsBoundTheCallOnly", fails, "end of Dial's ctx",
		func(f *faulty) {
			f.dial = func(ctx context.Context) (lahja.Conn, error) {
				c, err := f.rightDial(ctx)
				if err == nil {
					c.(*faultyConn).write = func(p []byte) (int, error) {
						return 0, ctx.Err()
					}
				}
				return c, err
			}
		},
	}, {
		"Listener ends with Listen's ctx", "ContextsBoundTheCallOnly", fails, "Accept failed",
		func(f *faulty) {
			f.onListen = func(l *faultyListener) {
				accept := l.accept
				l.accept = func() (lahja.Conn, error) {
					if err := l.ctx.Err(); err != nil {
						return nil, err
					}
					return accept()
				}
			}
		},
	}, {
		"address is lost by Close", "AddrStays", fails, "after Close",
		func(f *faulty) {
			f.onListen = func(l *faultyListener) {
				l.close = func() error {
					l.addr = func() string { return "closed" }
					return l.Listener.Close()
				}
			}
		},
	}, {
		"has no address", "AddrStays", fails, "empty",
		func(f *faulty) {
			f.onListen = func(l *faultyListener) {
				l.addr = func() string { return "" }
			}
		},
	}, {
		"Accept ends by another error", "CloseEndsAccept", fails, "does not match net.ErrClosed",
		func(f *faulty) {
			f.onListen = func(l *faultyListener) {
				l.accept = func() (lahja.Conn, error) {
					_, err := l.Listener.Accept()
					return nil, errors.New(err.Error())
				}
			}
		},
	}, {
		"Close leaves Accept waiting", "CloseEndsAccept", hangs, "waiting for Close to end Accept",
		func(f *faulty) {
			f.onListen = func(l *faultyListener) { l.close = noClose }
		},
	}, {
		"second Close of a Listener fails", "ListenerCloseAgain", fails, "calls of Close failed",
		func(f *faulty) {
			f.onListen = func(l *faultyListener) { l.close = onlyOnce(l.Listener.Close) }
		},
	}, {
		"Listener takes its connections along", "AcceptedLiveOn", fails,
		"after the Listener's Close", func(f *faulty) {
			f.onListen = func(l *faultyListener) {
				l.close = func() error {
					f.closeConns()
					return l.Listener.Close()
				}
			}
		},
	}, {
		"Listener forgets who waits", "WaitingToBeAccepted", hangs, "what it had not accepted",
		func(f *faulty) {
			f.onListen = func(l *faultyListener) { l.close = noClose }
		},
	}, {
		"place stays taken", "ListenAgain", fails, "Listen failed",
		func(f *faulty) {
			f.onListen = func(l *faultyListener) { l.close = noClose }
		},
	}, {
		"second Listen shares the first", "OneListener", fails, "a second Listen succeeded",
		func(f *faulty) {
			f.listen = func(ctx context.Context) (lahja.Listener, error) {
				l, err := f.rightListen(ctx)
				if errors.Is(err, syscall.EADDRINUSE) {
					return f.listeners[0], nil
				}
				return l, err
			}
		},
	}, {
		"one connection of many is dead", "ManyConnections", fails, "failed",
		func(f *faulty) {
			var dialled atomic.Int64
			f.dial = func(ctx context.Context) (lahja.Conn, error) {
				c, err := f.rightDial(ctx)
				if err == nil && dialled.Add(1) == 50 {
					c.Close()
				}
				return c, err
			}
		},
	}, {
		"goroutine of a Listener stays", "NoGoroutineOfListener", stays, "goroutines are left",
		func(f *faulty) {
			f.onListen = func(*faultyListener) {
				go func() { <-f.released }()
			}
		},
	},
}

// connFaults are those of connections.
var connFaults = []fault{
	{"reorders", "BothDirections", fails, "arrived as", onWrite(
		func(c *faultyConn, p []byte) (int, error) {
			swapped := append(bytes.Clone(p[1:]), p[0])
			return c.Conn.Write(swapped)
		})},
	{"doubles", "BothDirections", fails, "arrived as", onWrite(
		func(c *faultyConn, p []byte) (int, error) {
			c.Conn.Write(p)
			return c.Conn.Write(p)
		})},
	{"waits for more to send", "SingleBytes", hangs, "to and fro", onState(
		func(c *faultyConn) {
			var held []byte
			c.write = func(p []byte) (int, error) {
				held = append(held, p...)
				if len(held) < 16 {
					return len(p), nil
				}
				_, err := c.Conn.Write(held)
				held = nil
				return len(p), err
			}
		})},
	{"writes in part", "LargeWrite", fails, "returned no error", onWrite(
		func(c *faultyConn, p []byte) (int, error) {
			return c.Conn.Write(p[:min(len(p), 1<<20)])
		})},
	{"empty Read waits", "EmptyReadAndWrite", hangs, "waiting for a Read of no bytes", onRead(
		func(c *faultyConn, p []byte) (int, error) {
			if len(p) == 0 {
				return c.Conn.Read(make([]byte, 1))
			}
			return c.Conn.Read(p)
		})},
	{"keeps the written slice", "WriteKeepsNothing", fails, "arrived as", onState(
		func(c *faultyConn) {
			var mu sync.Mutex
			var kept []byte
			send := func(next []byte) {
				mu.Lock()
				defer mu.Unlock()
				c.Conn.Write(kept)
				kept = next
			}
			c.write = func(p []byte) (int, error) {
				send(p)
				return len(p), nil
			}
			c.close = func() error {
				send(nil)
				return c.Conn.Close()
			}
		})},
	{"masks in place", "WriteKeepsNothing", fails, "changed the slice", onWrite(
		func(c *faultyConn, p []byte) (int, error) {
			n, err := c.Conn.Write(p)
			for i := range p {
				p[i] ^= 0xff
			}
			return n, err
		})},
	{"reads into an earlier slice", "ReadKeepsNothing", fails, "after it had returned", onState(
		func(c *faultyConn) {
			var earlier []byte
			c.read = func(p []byte) (int, error) {
				clear(earlier)
				earlier = p
				return c.Conn.Read(p)
			}
		})},
	{"one lock for both directions", "DirectionsAreIndependent", hangs, "nobody reads", onState(
		func(c *faultyConn) {
			var mu sync.Mutex
			c.read = func(p []byte) (int, error) {
				mu.Lock()
				defer mu.Unlock()
				return c.Conn.Read(p)
			}
			c.write = func(p []byte) (int, error) {
				mu.Lock()
				defer mu.Unlock()
				return c.Conn.Write(p)
			}
		})},
	{"Close leaves Read waiting", "CloseEndsRead", hangs, "to end a Read", onState(closesLater)},
	{"Close leaves Write waiting", "CloseEndsWrite", hangs, "to end a Write", onState(closesLater)},
	{"Close is not sent", "CloseEndsPeersRead", hangs, "on the other side", onState(closesLater)},
	{"second Close fails", "ConnCloseAgain", fails, "calls of Close failed", onState(
		func(c *faultyConn) { c.close = onlyOnce(c.Conn.Close) })},
	{"reads after Close", "NothingAfterClose", fails, "Read after Close", onState(
		func(c *faultyConn) { c.close = noClose })},
	{"loses the tail", "WrittenBeforeClose", fails, "Read failed after", onState(
		func(c *faultyConn) {
			var tail []byte
			c.write = func(p []byte) (int, error) {
				all := slices.Concat(tail, p)
				cut := max(0, len(all)-1)
				tail = all[cut:]
				_, err := c.Conn.Write(all[:cut])
				return len(p), err
			}
		})},
	{"ends by another error", "WrittenBeforeClose", fails, "not io.EOF", onRead(
		func(c *faultyConn, p []byte) (int, error) {
			n, err := c.Conn.Read(p)
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return n, err
		})},
	{"waits for the dead", "WriteToClosedFails", hangs, "has closed", onState(
		func(c *faultyConn) {
			closed := make(chan struct{})
			note := sync.OnceFunc(func() { close(closed) })
			c.write = func(p []byte) (int, error) {
				n, err := c.Conn.Write(p)
				if errors.Is(err, syscall.EPIPE) {
					<-closed
				}
				return n, err
			}
			c.close = func() error {
				note()
				return c.Conn.Close()
			}
		})},
	{"identity is lost by Close", "IdentityStays", fails, "is now", onState(
		func(c *faultyConn) {
			var closed atomic.Bool
			c.close = func() error {
				closed.Store(true)
				return c.Conn.Close()
			}
			c.identity = func() lahja.Identity {
				if closed.Load() {
					return lahja.Identity{Transport: "closed"}
				}
				return c.Conn.Identity()
			}
		})},
	{"has no identity", "IdentityStays", fails, "does not name", onState(
		func(c *faultyConn) {
			c.identity = func() lahja.Identity { return lahja.Identity{} }
		})},
	{
		"goroutine of a connection stays", "NoGoroutineOfConn", stays, "goroutines are left",
		func(f *faulty) {
			f.onConn = func(*faultyConn) {
				go func() { <-f.released }()
			}
		},
	},
}

// connectFaults are those of connections that Go has already, wrong in the way that first comes to
// mind.
var connectFaults = []struct {
	fault
	connect func() (a, b lahja.Conn, err error)
}{
	{fault{
		name: "net.Pipe", law: "OneByteNeedsNoReader", limit: hangs,
		says: "nobody reads yet",
	}, viaPipe},
	{fault{
		name: "TCP with bytes unread", law: "CloseWithUnread", limit: fails,
		says: "something unread",
	}, viaTCP},
	{fault{
		name: "TCP with bytes under way", law: "CloseWhilePeerWrites", limit: fails,
		says: "the other side writes",
	}, viaTCP},
}

// onState breaks every connection.
func onState(breaks func(*faultyConn)) func(*faulty) {
	return func(f *faulty) { f.onConn = breaks }
}

// onWrite replaces Write.
func onWrite(write func(*faultyConn, []byte) (int, error)) func(*faulty) {
	return onState(func(c *faultyConn) {
		c.write = func(p []byte) (int, error) { return write(c, p) }
	})
}

// onRead replaces Read.
func onRead(read func(*faultyConn, []byte) (int, error)) func(*faulty) {
	return onState(func(c *faultyConn) {
		c.read = func(p []byte) (int, error) { return read(c, p) }
	})
}

// closesLater makes Close a note that only the next Read and Write take.
func closesLater(c *faultyConn) {
	var closed atomic.Bool
	unless := func(f func([]byte) (int, error)) func([]byte) (int, error) {
		return func(p []byte) (int, error) {
			if closed.Load() {
				return 0, net.ErrClosed
			}
			return f(p)
		}
	}
	c.read, c.write = unless(c.Conn.Read), unless(c.Conn.Write)
	c.close = func() error {
		closed.Store(true)
		return nil
	}
}

func noClose() error { return nil }

// onlyOnce fails after the first call.
func onlyOnce(f func() error) func() error {
	var called atomic.Bool
	return func() error {
		if called.Swap(true) {
			return net.ErrClosed
		}
		return f()
	}
}

// viaMemory connects rightly.
func viaMemory() (a, b lahja.Conn, err error) {
	place := memory.New()
	l, err := place.Listen(context.Background())
	if err != nil {
		return nil, nil, err
	}
	defer l.Close()
	if a, err = place.Dial(context.Background()); err != nil {
		return nil, nil, err
	}
	b, err = l.Accept()
	return a, b, err
}
