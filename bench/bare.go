package main

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
)

// The bare conduit is the least that can carry the same messages: a length and the CBOR, through a
// buffer of 64 KiB at each end.
const conduitBuffer = 64 << 10

func init() {
	for _, kind := range []string{"pipe", "unix", "tcp"} {
		networks["bare "+kind] = network{
			host: bareHost(kind), join: bareJoin(kind, false), direct: true,
		}
		networks["bare "+kind+" and channel"] = network{
			host: bareHost(kind), join: bareJoin(kind, true), direct: true,
		}
	}
}

// conduit is one end of a connection.
type conduit struct {
	r   *bufio.Reader
	w   *bufio.Writer
	buf bytes.Buffer // of what is written
	in  []byte       // of what is read
	io.Closer
}

func newConduit(r io.Reader, w io.Writer, c io.Closer) *conduit {
	return &conduit{
		r: bufio.NewReaderSize(r, conduitBuffer), w: bufio.NewWriterSize(w, conduitBuffer),
		Closer: c,
	}
}

func (c *conduit) write(data []byte) error {
	var length [4]byte
	binary.LittleEndian.PutUint32(length[:], uint32(len(data)))
	if _, err := c.w.Write(length[:]); err != nil {
		return err
	}
	_, err := c.w.Write(data)
	return err
}

func (c *conduit) send(m *Message) error {
	c.buf.Reset()
	if err := encode(&c.buf, m); err != nil {
		return err
	}
	return c.write(c.buf.Bytes())
}

// read returns the next message, encoded, until the next call.
func (c *conduit) read() ([]byte, error) {
	var length [4]byte
	if _, err := io.ReadFull(c.r, length[:]); err != nil {
		return nil, err
	}
	n := int(binary.LittleEndian.Uint32(length[:]))
	if cap(c.in) < n {
		c.in = make([]byte, n)
	}
	c.in = c.in[:n]
	_, err := io.ReadFull(c.r, c.in)
	return c.in, err
}

func (c *conduit) receive() (m Message, err error) {
	data, err := c.read()
	if err != nil {
		return m, err
	}
	return decode(data)
}

// bareServer has the conduits that lead to children.
type bareServer struct {
	kind     string
	listener net.Listener // nil for pipes
	conduits []*conduit
	pipes    []*os.File // from one child to another
}

func listen(kind string) (net.Listener, error) {
	if kind == "tcp" {
		return net.Listen("tcp", "127.0.0.1:0")
	}
	return net.Listen("unix", socketPath())
}

// socketPath is a path for a socket, in a directory that goes with the whole run.
func socketPath() string {
	return filepath.Join(must(os.MkdirTemp("", "socket")), "socket")
}

func bareHost(kind string) func(*job) (*host, error) {
	return func(j *job) (*host, error) {
		s := &bareServer{kind: kind}
		h := &host{}
		if kind == "pipe" {
			h.start = s.startWithPipes(j)
		} else {
			var err error
			if s.listener, err = listen(kind); err != nil {
				return nil, err
			}
			h.place = s.listener.Addr().String()
		}
		h.ready = func() error { return s.accept(j, h) }
		h.close = s.close
		return h, nil
	}
}

// accept takes the connections of the children, which have been made.
func (s *bareServer) accept(j *job, h *host) error {
	if j.Kind == "relay" {
		return nil
	}
	for s.kind != "pipe" && len(s.conduits) < j.Count {
		c, err := s.listener.Accept()
		if err != nil {
			return err
		}
		s.conduits = append(s.conduits, newConduit(c, c, c))
	}
	h.send, h.flush = s.send, s.flush
	h.call = s.conduits[0].call
	if j.AtOnce > 1 {
		h.call = newPipeline(s.conduits[0]).call
	}
	return nil
}

// send encodes once for all.
func (s *bareServer) send(m *Message) error {
	first := s.conduits[0]
	first.buf.Reset()
	if err := encode(&first.buf, m); err != nil {
		return err
	}
	for _, c := range s.conduits {
		if err := c.write(first.buf.Bytes()); err != nil {
			return err
		}
	}
	return nil
}

func (s *bareServer) flush() error {
	for _, c := range s.conduits {
		if err := c.w.Flush(); err != nil {
			return err
		}
	}
	return nil
}

func (s *bareServer) close() error {
	if s.listener != nil {
		s.listener.Close()
	}
	for _, c := range s.conduits {
		c.Close()
	}
	return nil
}

// startWithPipes gives each child two pipes, to read from and to write to: those of this process,
// or of a child that sends the one to the receiver.
func (s *bareServer) startWithPipes(j *job) func(*exec.Cmd, int) (func() error, error) {
	return func(cmd *exec.Cmd, number int) (func() error, error) {
		childIn, out, err := os.Pipe()
		if err != nil {
			return nil, err
		}
		in, childOut, err := os.Pipe()
		if err != nil {
			return nil, err
		}
		mine := newConduit(in, out, closers{in, out})
		if j.Kind == "relay" && number == 0 {
			s.pipes = []*os.File{in, out}
		}
		if j.Kind == "relay" && number == 1 {
			childIn, childOut = s.pipes[0], s.pipes[1]
		}
		s.conduits = append(s.conduits, mine)
		cmd.ExtraFiles = []*os.File{childIn, childOut}
		err = cmd.Start()
		if j.Kind != "relay" || number == 1 {
			childIn.Close()
			childOut.Close()
		}
		return cmd.Wait, err
	}
}

type closers []io.Closer

func (all closers) Close() (err error) {
	for _, c := range all {
		err = errors.Join(err, c.Close())
	}
	return err
}

// bareJoin is a child's end.
func bareJoin(kind string, hop bool) func(*task) (*party, error) {
	return func(t *task) (*party, error) {
		p := &party{}
		connect := func() (*conduit, error) {
			if kind == "pipe" {
				in, out := os.NewFile(3, "in"), os.NewFile(4, "out")
				return newConduit(in, out, closers{in, out}), nil
			}
			c, err := net.Dial(kind, t.Place)
			if err != nil {
				return nil, err
			}
			return newConduit(c, c, c), nil
		}
		if t.Kind == "relay" && t.Role == receiving && kind != "pipe" {
			l, err := listen(kind)
			if err != nil {
				return nil, err
			}
			p.place = l.Addr().String()
			connect = func() (*conduit, error) {
				c, err := l.Accept()
				if err != nil {
					return nil, err
				}
				return newConduit(c, c, c), nil
			}
			go bareReceive(t, connect, hop)
			return p, nil
		}
		c, err := connect()
		if err != nil {
			return nil, err
		}
		switch t.Role {
		case receiving:
			go bareReceive(t, func() (*conduit, error) { return c, nil }, hop)
		case sending:
			p.send, p.flush = c.send, c.w.Flush
		case answering:
			go c.answer()
		}
		return p, nil
	}
}

// bareReceive gives what comes to the sink, with hop over a channel to another goroutine.
func bareReceive(t *task, connect func() (*conduit, error), hop bool) {
	c, err := connect()
	take := t.sink.take
	if hop {
		ch := make(chan Message, buffer)
		take = func(m *Message) { ch <- *m }
		go func() {
			for m := range ch {
				t.sink.take(&m)
			}
		}()
	}
	for err == nil {
		var m Message
		if m, err = c.receive(); err == nil {
			take(&m)
		}
	}
	if !errors.Is(err, io.EOF) {
		t.sink.fail(fmt.Errorf("the conduit: %w", err))
	}
}

// answer echoes, and flushes when nothing more has come.
func (c *conduit) answer() {
	for {
		m, err := c.receive()
		if err != nil {
			return
		}
		if err := c.send(&m); err != nil {
			return
		}
		if c.r.Buffered() == 0 {
			if err := c.w.Flush(); err != nil {
				return
			}
		}
	}
}

// call is one request at a time.
func (c *conduit) call(m *Message) (Message, error) {
	if err := c.send(m); err != nil {
		return Message{}, err
	}
	if err := c.w.Flush(); err != nil {
		return Message{}, err
	}
	return c.receive()
}

// pipeline is for several requests at once over one conduit. They are answered in order.
type pipeline struct {
	waiting atomic.Int32 // callers that want to write
	replies chan chan Message

	mu sync.Mutex // held while something is written
	c  *conduit
}

func newPipeline(c *conduit) *pipeline {
	p := &pipeline{c: c, replies: make(chan chan Message, 1024)}
	go func() {
		for reply := range p.replies {
			m, err := c.receive()
			if err != nil {
				panic(err)
			}
			reply <- m
		}
	}()
	return p
}

func (p *pipeline) call(m *Message) (Message, error) {
	reply := make(chan Message, 1)
	p.waiting.Add(1)
	p.mu.Lock()
	err := p.c.send(m)
	p.replies <- reply
	if p.waiting.Add(-1) == 0 && err == nil { // nobody else will flush
		err = p.c.w.Flush()
	}
	p.mu.Unlock()
	if err != nil {
		return Message{}, err
	}
	return <-reply, nil
}
