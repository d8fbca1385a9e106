package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime/pprof"
	"strconv"
	"strings"
	"time"

	"github.com/lahja-go/lahja"
)

// party is what a process can do as a part of a system. What is nil it cannot.
type party struct {
	place string // where others find it
	ready func() error

	send  func(*Message) error // to all who receive
	flush func() error         // after the last
	call  func(*Message) (Message, error)

	expect func(last uint64) // is told what will come; nil: the sink knows all
	close  func() error
}

// host is the party of the process that starts the others.
type host struct {
	party
	// start starts the child of that number, and returns a function that waits for its end; nil:
	// as usual.
	start func(cmd *exec.Cmd, number int) (wait func() error, err error)
	// meet is told where a child is, if that listens; nil: nobody needs to know.
	meet func(place string) error

	endpoint *lahja.Endpoint // of lahja
}

// role is what a child is there for.
type role string

const (
	receiving role = "receive"
	sending   role = "send"    // to a child that receives
	answering role = "answer"  // requests
	crowding  role = "crowd"   // many endpoints
	consuming role = "consume" // in lahja\'s own benchmark
	driving   role = "drive"
)

// task is what a child is told.
type task struct {
	job
	Role   role
	Number int
	Place  string // of the host, or for one who sends directly, of the receiver

	sink *sink
}

// network is a system whose parts are in several processes.
type network struct {
	host   func(*job) (*host, error)
	join   func(*task) (*party, error)
	direct bool // from child to child it needs nobody in between
	most   int  // as many messages may be on their way; 0: no limit
}

// networks are the systems by name.
var networks = map[string]network{}

// child is a process that this one has started.
type child struct {
	place string
	in    io.WriteCloser
	out   *bufio.Reader
	wait  func() error
}

// startChild starts a process and returns when it is ready.
func startChild(h *host, t *task) (*child, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	text, err := json.Marshal(t)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self, "child", string(text))
	stdin, in, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer stdin.Close()
	out, stdout, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer stdout.Close()
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, stdout, os.Stderr
	c := &child{in: in, out: bufio.NewReader(out)}
	if h.start != nil {
		c.wait, err = h.start(cmd, t.Number)
	} else {
		c.wait, err = cmd.Wait, cmd.Start()
	}
	if err != nil {
		return nil, err
	}
	c.place, err = c.await("ready")
	return c, err
}

// await reads a line, which has to begin with that word, and returns the rest.
func (c *child) await(word string) (string, error) {
	line, err := c.out.ReadString('\n')
	if err != nil {
		return "", fmt.Errorf("a child has ended: %w", err)
	}
	first, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
	if first != word {
		return "", fmt.Errorf("a child says %q, where %s was due", strings.TrimSpace(line), word)
	}
	return rest, nil
}

func (c *child) tell(words ...any) error {
	_, err := fmt.Fprintln(c.in, words...)
	return err
}

// ask tells and awaits.
func (c *child) ask(answer string, words ...any) error {
	if err := c.tell(words...); err != nil {
		return err
	}
	_, err := c.await(answer)
	return err
}

// end has the child end and waits for it.
func (c *child) end() error {
	c.in.Close()
	return c.wait()
}

// beChild is the process of a child: it does what it is told on stdin, until that ends.
func beChild(text string) error {
	t, err := parse[task](text)
	if err != nil {
		return err
	}
	t.sink = newSink(t.Size)
	p, err := networks[t.System].join(&t)
	if err != nil {
		return err
	}
	stop, err := t.profileChild()
	if err != nil {
		return err
	}
	fmt.Println("ready", p.place)
	if t.Role == receiving {
		go func() {
			<-t.sink.probed
			fmt.Println("probed")
		}()
	}
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		if err := obey(&t, p, strings.Fields(lines.Text())); err != nil {
			fmt.Println("error", err)
			return err
		}
	}
	stop()
	if p.close == nil {
		return nil
	}
	return p.close()
}

// profileChild profiles the whole life of a child, if the job says so.
func (t *task) profileChild() (stop func(), err error) {
	if t.Profile == "" {
		return func() {}, nil
	}
	name := strings.TrimSuffix(t.Profile, ".pprof")
	file, err := os.Create(fmt.Sprintf("%s-%s%d.pprof", name, t.Role, t.Number))
	if err != nil {
		return nil, err
	}
	return pprof.StopCPUProfile, pprof.StartCPUProfile(file)
}

// obey does what a line says.
func obey(t *task, p *party, words []string) error {
	number := func(i int) uint64 { return must(strconv.ParseUint(words[i], 10, 64)) }
	switch words[0] {
	case "settle": // everybody is there
		if p.ready != nil {
			if err := p.ready(); err != nil {
				return err
			}
		}
		fmt.Println("settled")
	case "cpu":
		fmt.Println("cpu", int64(processorTime()))
	case "expect": // messages up to that number
		t.sink.target.Store(number(1))
		if p.expect != nil {
			p.expect(number(1))
		}
		fmt.Println("expecting")
		go func() {
			if err := <-t.sink.reached; err != nil {
				fmt.Println("error", err)
				return
			}
			fmt.Println("reached")
		}()
	case "send": // so many messages from that number
		if err := sendAll(p, t.Size, number(1), int(number(2))); err != nil {
			return err
		}
		fmt.Println("sent")
	default:
		return fmt.Errorf("unknown command %q", words[0])
	}
	return nil
}

// sendAll sends n messages from number first on.
func sendAll(p *party, size int, first uint64, n int) error {
	m := newMessage(size)
	for i := range uint64(n) {
		m.stamp(first + i)
		if err := p.send(m); err != nil {
			return err
		}
	}
	if p.flush == nil {
		return nil
	}
	return p.flush()
}

// stage is a host with its children.
type stage struct {
	*host
	children []*child
}

func openStage(j *job) (*stage, error) {
	system, known := networks[j.System]
	if !known {
		return nil, fmt.Errorf("there is no system %q", j.System)
	}
	h, err := system.host(j)
	if err != nil {
		return nil, err
	}
	return &stage{host: h}, nil
}

// hire starts n children.
func (s *stage) hire(j *job, r role, n int, place string) error {
	for i := range n {
		t := &task{job: *j, Role: r, Number: len(s.children), Place: place}
		c, err := startChild(s.host, t)
		if err != nil {
			return fmt.Errorf("%s: child %d: %w", j.System, i, err)
		}
		s.children = append(s.children, c)
		if s.meet != nil {
			if err := s.meet(c.place); err != nil {
				return err
			}
		}
	}
	return nil
}

// settle tells everybody that all are there.
func (s *stage) settle() error {
	if s.ready != nil {
		if err := s.ready(); err != nil {
			return err
		}
	}
	for _, c := range s.children {
		if err := c.ask("settled", "settle"); err != nil {
			return err
		}
	}
	return nil
}

// spent is the processor time of this process and its children so far.
func (s *stage) spent() (time.Duration, error) {
	all := processorTime()
	for _, c := range s.children {
		if err := c.tell("cpu"); err != nil {
			return 0, err
		}
		text, err := c.await("cpu")
		if err != nil {
			return 0, err
		}
		one, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return 0, err
		}
		all += time.Duration(one)
	}
	return all, nil
}

// probeAll has send send until each of the children has got something.
func probeAll(children []*child, send func() error) error {
	all := make(chan error, 1)
	go func() {
		for _, c := range children {
			if _, err := c.await("probed"); err != nil {
				all <- err
				return
			}
		}
		all <- nil
	}()
	for {
		if err := send(); err != nil {
			return err
		}
		select {
		case err := <-all:
			return err
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func (s *stage) end() error {
	var errs []error
	for _, c := range s.children {
		errs = append(errs, c.end())
	}
	if s.close != nil {
		errs = append(errs, s.close())
	}
	return errors.Join(errs...)
}
