package lahja_test

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lahja-go/lahja"
	"github.com/lahja-go/lahja/internal/wire"
	"github.com/lahja-go/lahja/transports/tcp"
)

const mobVariable = "LAHJA_MOB"

// hung is how long after its Accept a connection of the mob is closed.
const hung = 5 * time.Second

// A mob of connections that say nothing, and one of those that say a byte a second, come again
// and again from another process: an endpoint attaches at any time and soon, and each of the mob
// is closed in time. Then the same where as many may be attaching, which shows what each costs.
func TestMob(t *testing.T) {
	if address := os.Getenv(mobVariable); address != "" {
		comeInMobs(t, address)
		return
	}
	each, lasts, attempts := 100, 2*time.Second, 100
	if scale() > 1 {
		each, lasts, attempts = 1000, 30*time.Second, 1000
	}
	captureLog(t)
	t.Run("attach", func(t *testing.T) {
		l := mobbed(t, each, lahja.Limits{})
		waits := make([]time.Duration, 0, attempts)
		for n := range attempts {
			began := time.Now()
			ctx, cancel := context.WithTimeout(t.Context(), tooLong)
			ep, err := lahja.Connect(ctx, fmt.Sprint("real", n), tcp.New(l.Addr()))
			cancel()
			if err != nil {
				t.Fatalf("attempt %d, after %v: %v", n, time.Since(began), err)
			}
			waits = append(waits, time.Since(began))
			ep.Close()
			time.Sleep(lasts / time.Duration(attempts))
		}
		slices.Sort(waits)
		p99, longest := waits[len(waits)*99/100], l.longest()
		t.Logf("%d silent and as many slow ones, that came %d times: %d attempts to attach, "+
			"p50 %v, p99 %v, longest %v; each stranger is closed %v after its Accept at the latest",
			each, l.count.Load(), attempts, waits[len(waits)/2], p99, waits[len(waits)-1], longest)
		if limit := 100 * time.Millisecond; p99 > limit && scale() > 1 {
			t.Errorf("p99 is %v, where %v is the limit", p99, limit)
		}
		if longest > hung {
			t.Errorf("one was there for %v", longest)
		}
	})
	t.Run("cost", func(t *testing.T) {
		before := footprint()
		l := mobbed(t, each, lahja.Limits{Handshakes: 4 * each})
		for l.open.Load() < int64(2*each) {
			time.Sleep(time.Millisecond)
		}
		time.Sleep(200 * time.Millisecond) // until the first bytes of each are there
		n := l.open.Load()
		cost := (footprint() - before) / n
		for l.open.Load() == n {
			time.Sleep(time.Millisecond)
		}
		for l.longest() < 3*time.Second {
			time.Sleep(time.Millisecond)
		}
		t.Logf("%d strangers at once, %d bytes each; closed %v after their Accept at the latest",
			n, cost, l.longest())
		if cost > 8<<10 && !raceDetector { // which makes each stack and buffer larger
			t.Errorf("each costs %d bytes, where 8 KiB are allowed", cost)
		}
		if l.longest() > hung {
			t.Errorf("one was there for %v", l.longest())
		}
	})
}

// mobbed starts a bus and the process with the mob.
func mobbed(t *testing.T, each int, limits lahja.Limits) *timed {
	bus := lahja.NewBus(limits)
	t.Cleanup(func() { bus.Close() })
	inner, err := tcp.New("127.0.0.1:0").Listen(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	l := &timed{Listener: inner}
	go bus.ServeListener(t.Context(), l)
	cmd := exec.Command(os.Args[0], "-test.run=^TestMob$")
	cmd.Env = append(os.Environ(), mobVariable+"="+fmt.Sprint(each, " ", l.Addr()))
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "here\n" {
		t.Fatal(line, err)
	}
	return l
}

// timed is a listener that looks how long its connections are there before they are closed here, of
// those from which no whole handshake comes.
type timed struct {
	lahja.Listener
	count, open atomic.Int64
	most        atomic.Int64
}

func (l *timed) longest() time.Duration { return time.Duration(l.most.Load()) }

func (l *timed) Accept() (lahja.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	l.count.Add(1)
	l.open.Add(1)
	return &timedConn{Conn: c, listener: l, since: time.Now()}, nil
}

type timedConn struct {
	lahja.Conn
	listener *timed
	since    time.Time
	once     sync.Once
}

func (c *timedConn) Close() error {
	c.once.Do(func() {
		c.listener.open.Add(-1)
		took := int64(time.Since(c.since))
		for most := c.listener.most.Load(); took > most; most = c.listener.most.Load() {
			c.listener.most.CompareAndSwap(most, took)
		}
	})
	return c.Conn.Close()
}

// Reset is what a connection over TCP has.
func (c *timedConn) Reset() error {
	c.Close()
	return c.Conn.(interface{ Reset() error }).Reset()
}

// comeInMobs is what the process with the mob does until it is killed: all come within a second,
// and each that is closed comes again within the second that follows a second of rest.
func comeInMobs(t *testing.T, what string) {
	var each int
	var address string
	if _, err := fmt.Sscan(what, &each, &address); err != nil {
		t.Fatal(err)
	}
	hello := strings.Repeat(wire.Preface, 8)
	for i := range 2 * each {
		go func() {
			for rest := time.Duration(0); ; rest = time.Second {
				time.Sleep(rest + time.Duration(rand.Int64N(int64(time.Second))))
				if c, err := net.Dial("tcp", address); err == nil {
					if i%2 == 0 {
						go trickle(c, hello)
					}
					_, _ = c.Read(make([]byte, 1))
					c.Close()
				}
			}
		}()
	}
	fmt.Println("here")
	select {}
}

// trickle writes a byte a second.
func trickle(c net.Conn, text string) {
	for _, b := range []byte(text) {
		if _, err := c.Write([]byte{b}); err != nil {
			return
		}
		time.Sleep(time.Second)
	}
}
