//go:build unix

package pipe_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"github.com/lahja-go/lahja"
	"github.com/lahja-go/lahja/transports/pipe"
)

// roles are what a child can be. Its arguments are those of the command; returning is exit 0.
var roles = map[string]func(args []string){
	"echo":       echo,
	"echo args":  echoArgs,
	"exit":       exit,
	"idle":       func([]string) { forever() },
	"speaks":     func([]string) { fmt.Println("up"); forever() },
	"tries":      tries,
	"deaf":       func([]string) { connect("deaf"); forever() },
	"stubborn":   stubborn,
	"dying":      dying,
	"closes":     func([]string) { connect("closes").Close(); forever() },
	"exits":      func([]string) { connect("exits"); os.Exit(0) },
	"impostor":   impostor,
	"hangs up":   hangsUp,
	"last words": lastWords,
	"stdio":      stdio,
	"extra":      extra,
	"secrets":    secrets,
	"look":       look,
	"leaver":     leaver,
	"dials":      dials,
	"raw":        raw,
	"outputs":    outputs,
	"nested":     nested,
	"orphanage":  orphanage,
	"orphan":     orphan,
	"closed std": closedStd,
}

// play never returns.
func play(role string) {
	f, ok := roles[role]
	if !ok {
		fail("there is no role %q", role)
	}
	f(os.Args[1:])
	os.Exit(0)
}

func fail(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "child: "+format+"\n", args...)
	os.Exit(99)
}

func must(err error) {
	if err != nil {
		fail("%v", err)
	}
}

// mustUnlessClosed is for what the goodbye of the bus may overtake.
func mustUnlessClosed(err error) {
	if !errors.Is(err, lahja.ErrClosed) {
		must(err)
	}
}

// connect attaches to the parent.
func connect(name string) *lahja.Endpoint {
	ep, err := lahja.Connect(context.Background(), name, pipe.Parent())
	must(err)
	return ep
}

func say(ep *lahja.Endpoint, format string, args ...any) {
	must(lahja.Broadcast(context.Background(), ep, Text{fmt.Sprintf(format, args...)}))
}

// echo answers each Ping with a Pong until its endpoint ends.
func echo(args []string) {
	ctx := context.Background()
	ep := connect(args[0])
	_, err := lahja.Subscribe(ctx, ep, func(ctx context.Context, ev lahja.Event[Ping]) {
		mustUnlessClosed(lahja.Broadcast(ctx, ep, Pong(ev.Value)))
	})
	mustUnlessClosed(err)
	<-ep.Done()
}

// echoArgs says what its arguments are.
func echoArgs(args []string) {
	ep := connect("args")
	say(ep, "%s", strings.Join(args, " "))
	ep.Close()
}

func exit(args []string) {
	status, err := strconv.Atoi(args[0])
	must(err)
	os.Exit(status)
}

// stubborn neither minds the goodbye nor SIGTERM.
func stubborn([]string) {
	signal.Ignore(syscall.SIGTERM)
	connect("stubborn")
	forever()
}

// dying kills itself once it has heard a Ping.
func dying([]string) {
	ctx := context.Background()
	ep := connect("dying")
	_, err := lahja.WaitFor[Ping](ctx, ep)
	must(err)
	must(syscall.Kill(os.Getpid(), syscall.SIGKILL))
}

// theirs are the two files that Spawn has passed on.
func theirs() (in, out *os.File) {
	part := strings.Split(os.Getenv("LAHJA_PIPE"), ",")
	r, err := strconv.Atoi(part[0])
	must(err)
	w, err := strconv.Atoi(part[1])
	must(err)
	return os.NewFile(uintptr(r), "in"), os.NewFile(uintptr(w), "out")
}

// impostor has the pipes, but not the token.
func impostor([]string) {
	in, out := theirs()
	_, err := out.WriteString(strings.Repeat("x", 32))
	must(err)
	if _, err := in.Read(make([]byte, 1)); err == nil {
		fail("the parent answers")
	}
}

// hangsUp closes the pipes and lives on.
func hangsUp([]string) {
	in, out := theirs()
	in.Close()
	out.Close()
	forever()
}

const lastWordCount = 500

// lastWords broadcasts, closes and exits.
func lastWords([]string) {
	ep := connect("last words")
	for i := range lastWordCount {
		must(lahja.Broadcast(context.Background(), ep, Ping{i}))
	}
	must(ep.Close())
}

// stdio attaches and then repeats on stdout what it reads from stdin.
func stdio([]string) {
	ep := connect("stdio")
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		fmt.Printf("%s\n", lines.Text())
		fmt.Fprintf(os.Stderr, "%s too\n", lines.Text())
	}
	ep.Close()
}

// extra says what it reads from the first file beyond the standard ones.
func extra([]string) {
	buf := make([]byte, 100)
	n, err := os.NewFile(3, "extra").Read(buf)
	must(err)
	ep := connect("extra")
	say(ep, "%s", buf[:n])
	ep.Close()
}

// secrets says what a process that it starts sees of the pipes.
func secrets([]string) {
	ep := connect("secrets")
	if value, ok := os.LookupEnv("LAHJA_PIPE"); ok {
		fail("the environment still has %q", value)
	}
	say(ep, "%s", inRole("look"))
	ep.Close()
}

// look prints its descriptors beyond the standard ones that are pipes, and if it was told a token.
func look([]string) {
	for fd := 3; fd < 100; fd++ {
		var stat syscall.Stat_t
		if syscall.Fstat(fd, &stat) == nil && stat.Mode&syscall.S_IFMT == syscall.S_IFIFO {
			fmt.Printf("pipe %d ", fd)
		}
	}
	if _, ok := os.LookupEnv("LAHJA_PIPE"); ok {
		fmt.Print("variable")
	}
	fmt.Print("end")
}

// inRole runs another process and returns what it prints.
func inRole(role string) string {
	cmd := self(role)
	out, err := cmd.Output()
	must(err)
	return string(out)
}

// leaver exits without closing its endpoint and leaves a process behind, which was started before
// or after the pipes were kept from such.
func leaver(args []string) {
	heir := self("idle")
	heir.Stdin = os.Stdin
	if args[0] == "before" {
		must(heir.Start())
	}
	ep := connect("leaver")
	if args[0] == "after" {
		must(heir.Start())
	}
	say(ep, "%d", heir.Process.Pid)
	_, err := lahja.WaitFor[Ping](context.Background(), ep)
	must(err)
}

// dials says what becomes of a second Dial, and of Listen.
func dials([]string) {
	ctx := context.Background()
	ep := connect("dials")
	conn, err := pipe.Parent().Dial(ctx)
	if err == nil {
		fail("a second Dial gives %v", conn)
	}
	say(ep, "%v", err)
	if _, err = pipe.Parent().Listen(ctx); err == nil {
		fail("Listen succeeds")
	}
	say(ep, "%v", err)
	ep.Close()
}

// raw uses the connection itself. It ends the process with status 0 if Close ends a Read that
// waits in the poller, which one of a blocking descriptor does not.
func raw([]string) {
	c, err := pipe.Parent().Dial(context.Background())
	must(err)
	if id := c.Identity(); id.Transport != "pipe" || id.PID != os.Getppid() || id.Name != "" {
		fail("the parent is %+v", id)
	}
	read := make(chan error)
	go func() {
		_, err := c.Read(make([]byte, 1))
		read <- err
	}()
	for stacks := make([]byte, 1<<16); ; runtime.Gosched() {
		if bytes.Contains(stacks[:runtime.Stack(stacks, true)], []byte("[IO wait")) {
			break
		}
	}
	must(c.Close())
	must(c.Close())
	if err := <-read; !errors.Is(err, net.ErrClosed) {
		fail("Read: %v", err)
	}
}

// outputs leaves a process behind that has its stdout.
func outputs([]string) {
	ep := connect("outputs")
	heir := self("idle")
	heir.Stdin, heir.Stdout = os.Stdin, os.Stdout
	must(heir.Start())
	ep.Close()
}

// tries prints why it cannot connect.
func tries([]string) {
	_, err := pipe.Parent().Dial(context.Background())
	fmt.Println(err)
	if _, ok := os.LookupEnv("LAHJA_PIPE"); ok {
		fail("the environment still has the variable")
	}
}

// nested is a child that has a child of its own, and passes on what that says.
func nested([]string) {
	ctx := context.Background()
	bus := lahja.NewBus()
	below, err := bus.Endpoint("below")
	must(err)
	texts := lahja.Stream[Text](ctx, below, lahja.Take(1))
	child, err := pipe.Spawn(ctx, bus, self("echo args", "a", "b"))
	must(err)
	text := <-texts
	<-child.Done()
	must(child.Err())
	ep := connect("nested")
	say(ep, "%s %s", text.Origin, text.Value.S)
	ep.Close()
}

// orphanage dies as soon as its child is attached.
func orphanage([]string) {
	cmd := self("orphan")
	cmd.Stdout = os.Stdout
	_, err := pipe.Spawn(context.Background(), lahja.NewBus(), cmd)
	must(err)
	os.Exit(0)
}

// orphan prints why its endpoint has ended.
func orphan([]string) {
	ep := connect("orphan")
	<-ep.Done()
	if !errors.Is(ep.Err(), lahja.ErrSessionLost) {
		fail("the endpoint has ended with %v", ep.Err())
	}
	fmt.Print("lost")
}

// closedStd writes to nobody after it has closed its standard files, whose numbers would make that
// deadly. It exits with status 0 if it survives.
func closedStd([]string) {
	for _, f := range []*os.File{os.Stdin, os.Stdout, os.Stderr} {
		f.Close()
	}
	ctx := context.Background()
	place := pipe.Loopback()
	l, err := place.Listen(ctx)
	must(err)
	dialled, err := place.Dial(ctx)
	must(err)
	accepted, err := l.Accept()
	must(err)
	accepted.Close()
	if _, err := dialled.Write([]byte("x")); !errors.Is(err, syscall.EPIPE) {
		os.Exit(3)
	}
}
