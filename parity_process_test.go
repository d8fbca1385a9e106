package lahja_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/lahja-go/lahja"
	"github.com/lahja-go/lahja/transports/pipe"
	"github.com/lahja-go/lahja/transports/tcp"
	"github.com/lahja-go/lahja/transports/unix"
)

// The environment variables by which this test binary, started again, knows what it is.
const (
	roleVariable  = "LAHJA_PARITY_ROLE"
	nameVariable  = "LAHJA_PARITY_NAME"
	placeVariable = "LAHJA_PARITY_PLACE" // the transport, a space, the address
	boundVariable = "LAHJA_PARITY_BOUND" // of a bus: the heartbeat, a space, the time of a resume
)

// process is this test binary in a role.
type process struct {
	cmd    *exec.Cmd
	child  *pipe.Child   // over pipes
	stderr *bytes.Buffer // to be read when exited is closed
	exited chan struct{}
}

// roles are what a process can be, apart from the bus.
var roles = map[string]func(ctx context.Context, ep *lahja.Endpoint) error{
	"echo":   echo,
	"asks":   asks,
	"holds":  holds,
	"panics": panics,
	"works":  labours,
	"leaves": leaves,
	"crowds": crowds,
	"toils":  toils,
	"keeps":  keeps,
	"victim": victim,

	"tallies": tallies,
	"streams": streams,
	"throws":  throws,
	"echoes":  echoes,
}

// TestParityProcess is no test: it is what the other processes run.
func TestParityProcess(t *testing.T) {
	role := os.Getenv(roleVariable)
	if role == "" {
		return
	}
	ctx := context.Background()
	if role == "bus" {
		if err := beBus(ctx); err != nil {
			t.Fatal(err)
		}
		return
	}
	ep, err := lahja.Connect(ctx, os.Getenv(nameVariable), placeOf(os.Getenv(placeVariable)))
	if err != nil {
		t.Fatal(err)
	}
	defer ep.Close()
	if err := roles[role](ctx, ep); err != nil {
		t.Fatal(err)
	}
	<-ep.Done()
}

// placeOf is the transport that leads to a place.
func placeOf(place string) lahja.Transport {
	switch kind, address, _ := strings.Cut(place, " "); kind {
	case "unix":
		return unix.New(address)
	case "tcp":
		return tcp.New(address)
	}
	return pipe.Parent()
}

// echo doubles questions, and answers items with others.
func echo(ctx context.Context, ep *lahja.Endpoint) error {
	_, err := lahja.Handle(ctx, ep, func(
		_ context.Context, ev lahja.Event[question],
	) (answer, error) {
		return answer{2 * ev.Value.N}, nil
	})
	if err != nil {
		return err
	}
	_, err = lahja.Subscribe(ctx, ep, func(ctx context.Context, ev lahja.Event[item]) {
		_ = lahja.Broadcast(ctx, ep, other(ev.Value), lahja.To(ev.Origin))
	})
	return err
}

// asks asks everyone what it is told to ask, and broadcasts the answer.
func asks(ctx context.Context, ep *lahja.Endpoint) error {
	_, err := lahja.Subscribe(ctx, ep, func(ctx context.Context, ev lahja.Event[item]) {
		got, err := lahja.Request[question, answer](ctx, ep, question(ev.Value))
		if err == nil {
			_ = lahja.Broadcast(ctx, ep, other(got))
		}
	})
	return err
}

// holds does not answer questions, and says when it has one and when that has ended.
func holds(ctx context.Context, ep *lahja.Endpoint) error {
	_, err := lahja.Handle(ctx, ep, func(
		ctx context.Context, ev lahja.Event[question],
	) (answer, error) {
		_ = lahja.Broadcast(ctx, ep, other{ev.Value.N})
		<-ctx.Done()
		_ = lahja.Broadcast(context.WithoutCancel(ctx), ep, other{-ev.Value.N})
		return answer{}, ctx.Err()
	})
	return err
}

func panics(ctx context.Context, ep *lahja.Endpoint) error {
	_, err := lahja.Handle(ctx, ep, func(context.Context, lahja.Event[question]) (answer, error) {
		panic("the handler of the other process panicked")
	})
	return err
}

// beBus is a process with a bus, which prints where it is and ends with its stdin.
func beBus(ctx context.Context) error {
	limits, err := limitsOf(os.Getenv(boundVariable))
	if err != nil {
		return err
	}
	bus := lahja.NewBus(limits)
	defer bus.Close()
	ep, err := bus.Endpoint("main")
	if err != nil {
		return err
	}
	if err := echo(ctx, ep); err != nil {
		return err
	}
	l, err := placeOf(os.Getenv(placeVariable)).Listen(ctx)
	if err != nil {
		return err
	}
	fmt.Println(l.Addr())
	go bus.ServeListener(ctx, l)
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

// command returns this test binary in a role.
func (s *stage) command(role, name, place string) *process {
	cmd := exec.Command(os.Args[0], "-test.run=^TestParityProcess$")
	cmd.Env = append(os.Environ(), roleVariable+"="+role, nameVariable+"="+name,
		placeVariable+"="+place)
	p := &process{cmd: cmd, stderr: &bytes.Buffer{}, exited: make(chan struct{})}
	cmd.Stderr = p.stderr
	return p
}

// start starts a process that connects to the stage's bus; over pipes it is attached then.
func (s *stage) start(role, name string) *process {
	s.Helper()
	p := s.command(role, name, s.venue.name+" "+s.address)
	if s.venue.name == "pipe" {
		var err error
		p.child, err = pipe.Spawn(s.ctx, s.bus, p.cmd, pipe.As(name))
		s.must(err)
		s.group.Go(func() {
			<-p.child.Done()
			close(p.exited)
		})
	} else {
		s.must(p.cmd.Start())
		s.group.Go(func() {
			_ = p.cmd.Wait()
			close(p.exited)
		})
	}
	s.Cleanup(p.kill)
	return p
}

func (p *process) kill() { _ = p.cmd.Process.Kill() }

// betweenProcesses shows each behaviour where endpoints can be in other processes.
func betweenProcesses(t *testing.T, all []behaviour) {
	for _, b := range all {
		t.Run(b.name, func(t *testing.T) {
			for _, v := range venues[2:] { // not in-process and memory
				t.Run(v.name, func(t *testing.T) {
					b.show(newStage(t, &v, [2]bool{true, true}, lahja.Limits{Resume: soon}))
				})
			}
		})
	}
}

// soon is when a process that has died counts as gone where it might have come back, over tcp.
const soon = 300 * time.Millisecond

func TestParityProcesses(t *testing.T) {
	betweenProcesses(t, []behaviour{
		{"P47 events and requests between a bus and another process", (*stage).otherProcess},
		{"P48 the same with the bus in the other process", (*stage).busElsewhere},
		{"P62 two processes talk through a third", (*stage).threeProcesses},
		{"L2 L3 a killed process is gone, and what was asked of it", (*stage).responderIsKilled},
		{"L2 every view shows promptly that a process was killed", (*stage).killedIsSeen},
		{"a handler whose requester's process was killed is cancelled", (*stage).requesterIsKilled},
		{"a panic of a handler ends its program", (*stage).panicEndsProgram},
		{"the death of the bus ends its endpoints", (*stage).busIsKilled},
	})
}

func (s *stage) otherProcess() {
	main := s.own("main")
	others := lahja.Stream[other](s.ctx, main)
	s.start("echo", "echo")
	s.until(main, lahja.SubscribedBy[item]("echo"))
	s.wantAnswer(main, 21, 42)
	for i := range 100 {
		say(s, main, item{i})
	}
	for i := range 100 {
		if ev := hear(s, others, other{i}); ev.Origin != "echo" {
			s.Fatalf("its origin is %q", ev.Origin)
		}
	}
}

// startBus starts a process with a bus, and returns the transport that leads there.
func (s *stage) startBus() (*process, lahja.Transport) {
	s.Helper()
	place := map[string]string{"unix": s.shortDir() + "/bus", "tcp": "127.0.0.1:0"}
	if place[s.venue.name] == "" {
		s.Skip("a child's parent has the bus")
	}
	p, address := s.startBusAt(place[s.venue.name])
	return p, placeOf(s.venue.name + " " + address)
}

// startBusAt starts a process with a bus at that address, and returns the one that it has.
func (s *stage) startBusAt(where string, env ...string) (p *process, address string) {
	s.Helper()
	p = s.command("bus", "", s.venue.name+" "+where)
	p.cmd.Env = append(p.cmd.Env, env...)
	_, err := p.cmd.StdinPipe()
	s.must(err)
	out, err := p.cmd.StdoutPipe()
	s.must(err)
	s.must(p.cmd.Start())
	s.Cleanup(p.kill)
	address, err = bufio.NewReader(out).ReadString('\n')
	if err != nil {
		p.kill()
		s.Fatal(err, p.cmd.Wait(), p.stderr)
	}
	s.group.Go(func() {
		_ = p.cmd.Wait()
		close(p.exited)
	})
	return p, strings.TrimSpace(address)
}

func (s *stage) busElsewhere() {
	p, place := s.startBus()
	ep, err := lahja.Connect(s.ctx, "worker", place)
	s.must(err)
	defer p.kill()
	defer ep.Close()
	s.until(ep, lahja.Present("main"))
	others := lahja.Stream[other](s.ctx, ep)
	s.wantAnswer(ep, 21, 42)
	for i := range 100 {
		say(s, ep, item{i})
	}
	for i := range 100 {
		hear(s, others, other{i})
	}
}

func (s *stage) threeProcesses() {
	main := s.own("main")
	others := lahja.Stream[other](s.ctx, main, lahja.From("asks"))
	s.start("echo", "echo")
	s.until(main, lahja.SubscribedBy[item]("echo"))
	s.start("asks", "asks")
	s.until(main, lahja.SubscribedBy[item]("asks"))
	for n := range 10 {
		say(s, main, item{n})
		hear(s, others, other{2 * n})
	}
}

func (s *stage) responderIsKilled() {
	main, bystander := s.own("main"), s.connect("bystander")
	begun := lahja.Stream[other](s.ctx, main)
	p := s.start("holds", "holds")
	s.until(main, lahja.SubscribedBy[question]("holds"))
	asked := beside(s, func() error {
		_, err := request(s, main, 1)
		return err
	})
	hear(s, begun, other{1})
	p.kill()
	s.wantErr(take(s, asked), lahja.ErrResponderGone)
	for _, ep := range []*lahja.Endpoint{main, bystander} {
		s.until(ep, not(lahja.Present("holds")))
		_, err := request(s, ep, 2)
		s.wantErr(err, lahja.ErrNoSubscribers)
	}
	takeEnd(s, p.exited)
}

// promptly is far less than what a peer's silence would have to last, and far more than it takes.
const promptly = 5 * time.Second

func (s *stage) killedIsSeen() {
	main, bystander := s.own("main"), s.connect("bystander")
	p := s.start("holds", "holds")
	there := lahja.SubscribedBy[question]("holds")
	eps := []*lahja.Endpoint{main, bystander}
	var watched []<-chan lahja.Peers
	var waited []<-chan error
	for _, ep := range eps {
		s.until(ep, there)
		watched = append(watched, ep.WatchPeers(s.ctx))
		waited = append(waited, beside(s, func() error {
			return ep.WaitUntil(s.ctx, not(lahja.Present("holds")))
		}))
	}
	began := time.Now()
	p.kill()
	for i, ep := range eps {
		s.must(take(s, waited[i]))
		for view := take(s, watched[i]); lahja.Present("holds")(view); {
			view = take(s, watched[i])
		}
		peers, err := ep.Peers(s.ctx)
		if s.must(err); lahja.Present("holds")(peers) {
			s.Errorf("%q is told %v", ep.Name(), peers)
		}
	}
	if took := time.Since(began); took > promptly {
		s.Errorf("it took %v", took)
	}
}

func (s *stage) requesterIsKilled() {
	main := s.own("main")
	begun, ended := make(chan struct{}), make(chan struct{})
	answerWith(s, main, func(ctx context.Context, n int) (answer, error) {
		close(begun)
		<-ctx.Done()
		close(ended)
		return answer{}, ctx.Err()
	})
	p := s.start("asks", "asks")
	s.until(main, lahja.SubscribedBy[item]("asks"))
	say(s, main, item{1})
	takeEnd(s, begun)
	p.kill()
	takeEnd(s, ended)
	takeEnd(s, p.exited)
}

func (s *stage) panicEndsProgram() {
	main := s.own("main")
	p := s.start("panics", "panics")
	s.until(main, lahja.SubscribedBy[question]("panics"))
	_, err := request(s, main, 1)
	s.wantErr(err, lahja.ErrResponderGone)
	takeEnd(s, p.exited)
	if code := p.cmd.ProcessState.ExitCode(); code != 2 {
		s.Errorf("its status is %d", code)
	}
	text := p.stderr.String()
	if !strings.Contains(text, "the handler of the other process panicked") {
		s.Errorf("it says: %s", text)
	}
}

func (s *stage) busIsKilled() {
	p, place := s.startBus()
	ep, err := lahja.Connect(s.ctx, "worker", place)
	s.must(err)
	defer ep.Close()
	items := lahja.Stream[item](s.ctx, ep)
	states := ep.WatchState(s.ctx)
	take(s, states)
	p.kill()
	takeEnd(s, p.exited)
	if _, again := place.(lahja.Redialer); again { // the bus may come back
		if st := take(s, states); st.Connected || st.Err == nil {
			s.Fatalf("its state is %+v", st)
		}
		ep.Close()
		takeEnd(s, items)
		return
	}
	takeEnd(s, items)
	takeEnd(s, ep.Done())
	s.wantErr(ep.Err(), lahja.ErrSessionLost)
	if st := take(s, states); st.Connected || !errors.Is(st.Err, lahja.ErrSessionLost) {
		s.Fatalf("its state is %+v", st)
	}
	_, err = request(s, ep, 1)
	s.wantErr(err, lahja.ErrSessionLost)
}
