package lahja_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/lahja-go/lahja"
	"github.com/lahja-go/lahja/internal/wire"
	"github.com/lahja-go/lahja/transports/tcp"
	"github.com/lahja-go/lahja/transports/unix"
)

// Strangers that are refused, or say nothing, cost no more descriptors than there may be
// handshakes: their sockets do not stay beyond that for what they have not read yet.
func TestStrangersHoldFewDescriptors(t *testing.T) {
	const strangers, limit = 400, 32
	hello := wire.Hello{MinVersion: 1, MaxVersion: 1, Name: "stranger"}
	for name, says := range map[string]func(s *stranger){
		"nothing":     func(*stranger) {},
		"are refused": func(s *stranger) { s.preface(wire.TypeHello, hello) },
	} {
		t.Run(name, func(t *testing.T) {
			captureLog(t)
			bus := lahja.NewBus(lahja.Limits{Handshakes: limit}, lahja.Authorize(
				func(context.Context, string, lahja.Identity) (lahja.Permissions, error) {
					return lahja.Permissions{}, lahja.ErrDenied
				}))
			defer bus.Close()
			l, err := tcp.New("127.0.0.1:0").Listen(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			counted := &counter{Listener: l}
			go bus.ServeListener(t.Context(), counted)
			before, most := descriptors(), 0
			for i := range strangers {
				c, err := net.Dial("tcp", l.Addr())
				if err != nil {
					t.Fatal(err)
				}
				defer c.Close()
				says(&stranger{TB: t, conn: c})
				for counted.accepted.Load() <= int64(i) {
					time.Sleep(time.Millisecond / 2) // the system's queue would hold it otherwise
				}
				most = max(most, descriptors()-before-i-1) // without those of this side
			}
			t.Logf("%d strangers, %d descriptors at most", strangers, most)
			if most > limit+8 {
				t.Errorf("they hold %d descriptors, where %d may be attaching", most, limit)
			}
		})
	}
}

// counter counts what Accept returns.
type counter struct {
	lahja.Listener
	accepted, failed atomic.Int64
}

func (l *counter) Accept() (lahja.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		l.failed.Add(1)
	} else {
		l.accepted.Add(1)
	}
	return c, err
}

// A connection that is refused is told why, also when others come after it.
func TestRefusalsAreRead(t *testing.T) {
	bus := lahja.NewBus(lahja.Limits{Handshakes: 2})
	defer bus.Close()
	if _, err := bus.Endpoint("taken"); err != nil {
		t.Fatal(err)
	}
	l, err := tcp.New("127.0.0.1:0").Listen(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	go bus.ServeListener(t.Context(), l)
	for range 10 {
		_, err := lahja.Connect(t.Context(), "taken", tcp.New(l.Addr()))
		(&stage{TB: t}).wantErr(err, lahja.ErrNameTaken)
	}
}

// drained is what the process that has run out of descriptors reports.
type drained struct {
	Fills    int           // files that it could open until there were no more
	Events   int           // that came meanwhile
	Failures int64         // of Accept
	CPU      time.Duration // that the process has used
	Out      time.Duration // for which it was out of descriptors
	Back     time.Duration // from then until an endpoint had attached
	Loose    string        // what was allowed meanwhile and is not otherwise
}

const drainedVariable = "LAHJA_DRAINED"

// Out of descriptors, in a process with few of them: what is attached goes on, Accept is not tried
// in a circle, nothing is allowed that was not, and within a second of the end all is as before.
func TestOutOfDescriptors(t *testing.T) {
	if kind := os.Getenv(drainedVariable); kind != "" {
		runOut(t, kind)
		return
	}
	rounds := 1
	if scale() > 1 {
		rounds = 5
	}
	for _, kind := range []string{"tcp", "unix", "tls"} {
		t.Run(kind, func(t *testing.T) {
			for range rounds {
				d := inDrainedProcess(t, kind)
				t.Logf("out of descriptors for %v after %d files: %d events came, "+
					"Accept failed %d times, %v of CPU time; an endpoint is attached %v later",
					d.Out.Round(time.Millisecond), d.Fills, d.Events, d.Failures, d.CPU,
					d.Back.Round(time.Millisecond))
				most := 16 + 2*int64(d.Out/time.Second) // twice a second, after shorter pauses
				if d.Failures < 2 || d.Failures > most || d.CPU > d.Out/4 || d.Back > time.Second ||
					d.Loose != "" {
					t.Errorf("that is not as it should be: %+v", d)
				}
			}
		})
	}
}

func inDrainedProcess(t *testing.T, kind string) (d drained) {
	t.Helper()
	report := t.TempDir() + "/report"
	cmd := exec.Command(os.Args[0], "-test.run=^TestOutOfDescriptors$")
	cmd.Env = append(os.Environ(), drainedVariable+"="+kind, "LAHJA_REPORT="+report)
	output, err := cmd.CombinedOutput()
	text, missing := os.ReadFile(report)
	if err != nil || missing != nil {
		t.Fatalf("%v, %v: %s", err, missing, output)
	}
	if err := json.Unmarshal(text, &d); err != nil {
		t.Fatal(err)
	}
	return d
}

// runOut is what happens in that process.
func runOut(t *testing.T, kind string) {
	var opts []tcp.Option
	if kind == "tls" {
		opts = append(opts, tcp.TLS(selfSigned(t)))
	}
	var place lahja.Transport = tcp.New("127.0.0.1:0", opts...)
	if kind == "unix" {
		dir, err := os.MkdirTemp("", "lahja")
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(dir)
		place = unix.New(dir + "/bus")
	}
	l, err := place.Listen(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if kind != "unix" {
		place = tcp.New(l.Addr(), opts...)
	}
	report := os.Getenv("LAHJA_REPORT")
	file, err := os.Create(report) // while there are descriptors
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	bus := lahja.NewBus(allowing(lahja.Permissions{}))
	defer bus.Close()
	counted := &counter{Listener: l}
	go bus.ServeListener(t.Context(), counted)
	d, err := drain(t.Context(), place, counted)
	if err == nil {
		err = json.NewEncoder(file).Encode(d)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// drain uses up all descriptors for a while, during which two endpoints speak to each other.
func drain(ctx context.Context, place lahja.Transport, l *counter) (d drained, err error) {
	ctx, cancel := context.WithTimeout(ctx, tooLong)
	defer cancel()
	a, err := lahja.Connect(ctx, "a", place)
	if err != nil {
		return d, err
	}
	b, err := lahja.Connect(ctx, "b", place)
	if err != nil {
		return d, err
	}
	items := lahja.Stream[item](ctx, b)
	limit := syscall.Rlimit{Cur: 128, Max: 128}
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return d, err
	}
	filled := fillUp()
	filled[0].Close() // for the socket of who dials now; Accept has none left
	queued, err := place.Dial(ctx)
	if err != nil {
		return d, err
	}
	defer queued.Close()
	began, cpu, failures := time.Now(), used(), l.failed.Load()
	for time.Since(began) < 2*time.Second || d.Events < 100 {
		if err := lahja.Broadcast(ctx, a, item{d.Events}); err != nil {
			return d, err
		}
		if ev := <-items; ev.Value.N != d.Events {
			return d, fmt.Errorf("%+v has come, where %d was due", ev, d.Events)
		}
		d.Events++
		time.Sleep(10 * time.Millisecond)
	}
	d.Fills, d.Out, d.CPU = len(filled), time.Since(began), used()-cpu
	d.Failures = l.failed.Load() - failures
	for _, f := range filled {
		f.Close()
	}
	began = time.Now()
	limited, err := lahja.Connect(ctx, "limited", place)
	if err != nil {
		return d, err
	}
	defer limited.Close()
	d.Back = time.Since(began)
	if err := lahja.Broadcast(ctx, limited, item{}); err == nil {
		d.Loose = "the endpoint may broadcast"
	}
	return d, nil
}

// fillUp opens files until there are no descriptors left.
func fillUp() (all []*os.File) {
	for {
		f, err := os.Open(os.DevNull)
		if err != nil {
			return all
		}
		all = append(all, f)
	}
}

// used is the CPU time of this process.
func used() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
