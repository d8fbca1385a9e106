package lahja_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lahja-go/lahja"
	"github.com/lahja-go/lahja/transports/tcp"
)

// hostsVariable is the environment variable of a process that is alone in its network.
const hostsVariable = "LAHJA_HOSTS"

// Between two hosts, or what the system takes for that: two network namespaces and a cable. It is
// pulled out at either end and put in again, and loses one direction, under load: nothing is lost,
// doubled or reordered, and every request is answered. The test runs itself again in namespaces of
// its own, and does not touch the network that it finds.
func TestHosts(t *testing.T) {
	if os.Getenv(hostsVariable) != "" {
		pullCables(t)
		return
	}
	for _, tool := range []string{"ip", "nsenter"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("it takes the program %s: %v", tool, err)
		}
	}
	output, err := apart(syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET)
	if errors.Is(err, os.ErrPermission) && os.Geteuid() == 0 {
		output, err = apart(syscall.CLONE_NEWNET)
	}
	var exit *exec.ExitError
	switch {
	case err != nil && !errors.As(err, &exit):
		t.Skipf("this machine does not allow namespaces: %v", err)
	case err != nil:
		t.Errorf("%v:\n%s", err, output)
	case strings.Contains(output, "--- SKIP"):
		t.Skip(output)
	default:
		t.Log(output)
	}
}

// apart runs this test in new namespaces.
func apart(flags uintptr) (output string, err error) {
	cmd := exec.Command(os.Args[0], "-test.run=^TestHosts$", "-test.v")
	cmd.Env = append(os.Environ(), hostsVariable+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: flags}
	if flags&syscall.CLONE_NEWUSER != 0 { // where it is root
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{HostID: os.Geteuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{HostID: os.Getegid(), Size: 1}}
	}
	text, err := cmd.CombinedOutput()
	return string(text), err
}

// The ends of the cable.
const (
	nearAddress = "10.77.0.1"
	farAddress  = "10.77.0.2"
)

// cable connects this process's network with that of another.
type cable struct {
	t   testing.TB
	far string // a process that is there
}

// lay makes the other network and the cable. The test is skipped where that is not allowed.
func lay(t testing.TB) *cable {
	keeper := exec.Command("cat") // until its stdin ends
	keeper.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	end, err := keeper.StdinPipe()
	if err == nil {
		err = keeper.Start()
	}
	if err != nil {
		t.Skipf("a second network: %v", err)
	}
	t.Cleanup(func() {
		end.Close()
		_ = keeper.Wait()
	})
	c := &cable{t, fmt.Sprint(keeper.Process.Pid)}
	text, err := exec.Command("ip", "link", "add", "near", "type", "veth",
		"peer", "name", "far", "netns", c.far).CombinedOutput()
	if err != nil {
		t.Skipf("a cable: %v: %s", err, text)
	}
	c.ip("addr", "add", nearAddress+"/24", "dev", "near")
	c.ip("link", "set", "near", "up")
	c.farIP("addr", "add", farAddress+"/24", "dev", "far")
	c.farIP("link", "set", "far", "up")
	return c
}

func (c *cable) ip(args ...string) { c.run("ip", args...) }

// there is what runs a command at the far end.
func (c *cable) there(args ...string) []string {
	return append([]string{"nsenter", "-t", c.far, "-n"}, args...)
}

func (c *cable) farIP(args ...string) {
	all := c.there(append([]string{"ip"}, args...)...)
	c.run(all[0], all[1:]...)
}

func (c *cable) run(name string, args ...string) {
	c.t.Helper()
	if text, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		c.t.Fatalf("%s %v: %v: %s", name, args, err, text)
	}
}

// fault is what may happen to a cable.
type fault struct {
	name        string
	begin, mend func(*cable)
}

var cableFaults = []fault{
	{"pulled out here", func(c *cable) { c.ip("link", "set", "near", "down") },
		func(c *cable) { c.ip("link", "set", "near", "up") }},
	{"pulled out there", func(c *cable) { c.farIP("link", "set", "far", "down") },
		func(c *cable) { c.farIP("link", "set", "far", "up") }},
	{"mute from here", func(c *cable) { c.ip("route", "add", "blackhole", farAddress+"/32") },
		func(c *cable) { c.ip("route", "del", "blackhole", farAddress+"/32") }},
	{"mute from there", func(c *cable) { c.farIP("route", "add", "blackhole", nearAddress+"/32") },
		func(c *cable) { c.farIP("route", "del", "blackhole", nearAddress+"/32") }},
}

// pullCables is the test, in a network of its own.
func pullCables(t *testing.T) {
	captureLog(t)
	c := lay(t)
	v := venue{"tcp", func(s *stage) (lahja.Listener, lahja.Transport, error) {
		l, err := tcp.New(nearAddress+":0", tcp.Insecure()).Listen(s.ctx)
		if err != nil {
			return nil, nil, err
		}
		return l, tcp.New(l.Addr()), nil
	}}
	rounds, longest := 4, 1200*time.Millisecond
	if scale() > 1 {
		rounds, longest = 60, 6*time.Second
	}
	s := newStage(t, &v, [2]bool{true, true}, lahja.Limits{Heartbeat: 200 * time.Millisecond,
		Resume: 20 * time.Second})
	main := s.own("main")
	events := lahja.Stream[load](s.ctx, main)
	finish, came := s.farEnds(c, main), map[string]*series{}
	s.group.Go(func() {
		for ev := range events {
			if came[ev.Origin] == nil {
				came[ev.Origin] = &series{}
			}
			came[ev.Origin].add(ev.Value.N)
		}
	})
	random := rand.New(rand.NewPCG(uint64(rounds), 3))
	back := map[string][]time.Duration{}
	for n := range rounds {
		f := cableFaults[n%len(cableFaults)]
		f.begin(c)
		time.Sleep(time.Duration(random.Int64N(int64(longest)))) // for so long
		f.mend(c)
		mended := time.Now()
		for _, name := range []string{"far0", "far1"} {
			_, err := lahja.Request[tell, told](s.ctx, main, tell{}, lahja.To(name))
			if err != nil {
				t.Errorf("%s: a request to %s: %v", f.name, name, err)
			}
		}
		back[f.name] = append(back[f.name], time.Since(mended))
	}
	for _, f := range cableFaults {
		t.Logf("%s, %d times for at most %v: answers again after %v (median), %v (at most)", f.name,
			len(back[f.name]), longest, quantile(back[f.name], 0.5), quantile(back[f.name], 1))
	}
	t.Logf("%d events and requests to the other host and back, all as they should", finish())
	s.must(s.bus.Close())
	s.group.Wait()
	for name, got := range came {
		t.Logf("%d events from %s: %d missing, %d too much", got.next, name, got.missing, got.spare)
		if got.missing != 0 || got.spare != 0 || got.next == 0 {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

// farEnds starts processes at the other end that broadcast, echo and answer, and talks to them
// until finish is called, which returns how often.
func (s *stage) farEnds(c *cable, main *lahja.Endpoint) (finish func() int) {
	var flows []func() int
	names := []string{"far0", "far1"}
	for _, name := range names {
		p := s.command("toils", name, "tcp "+s.address)
		args := c.there(append([]string{os.Args[0]}, p.cmd.Args[1:]...)...)
		path, err := exec.LookPath(args[0])
		s.must(err)
		p.cmd.Path, p.cmd.Args = path, args
		s.must(p.cmd.Start())
		s.group.Go(func() {
			_ = p.cmd.Wait()
			close(p.exited)
		})
		s.Cleanup(p.kill)
		s.until(main, lahja.SubscribedBy[tell](name))
		flows = append(flows, s.echoed(main, name), s.asked(main, name))
	}
	return func() (sum int) {
		for _, flow := range flows {
			sum += flow()
		}
		for _, name := range names {
			link, err := lahja.Request[tell, told](s.ctx, main, tell{}, lahja.To(name))
			if s.must(err); link.Restarts != 0 || link.Lost != 0 || link.Resumes == 0 {
				s.Errorf("%s has lost its session: %+v", name, link)
			}
			s.Logf("%s has resumed its session %d times", name, link.Resumes)
		}
		return sum
	}
}

// asked is a flow of requests, one after the other.
func (s *stage) asked(ep *lahja.Endpoint, whom string) (finish func() int) {
	answers := make(chan int, 1)
	return s.flow(func(n int) error {
		got, err := lahja.Request[question, answer](s.ctx, ep, question{n}, lahja.To(whom))
		answers <- got.N / 2
		return err
	}, answers)
}
