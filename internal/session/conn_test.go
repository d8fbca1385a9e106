package session

import (
	"bytes"
	"io"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lahja-go/lahja/internal/leak"
	"github.com/lahja-go/lahja/internal/window"
	"github.com/lahja-go/lahja/internal/wire"
)

// TestMain fails if the tests leave a goroutine behind.
func TestMain(m *testing.M) { leak.Main(m) }

// pipe is one direction of a connection in memory.
type pipe struct {
	mu    sync.Mutex // guards what follows
	cond  *sync.Cond // something has changed
	buf   []byte
	size  int  // Write waits while buf is as long as this
	step  int  // the most bytes of a Read; 0: nobody reads
	ended bool // the writing side has closed
	cut   bool // the reading side has closed
	fuse  int  // it is cut when one byte less has been written; 0: it is not

	log    []byte // all that was written
	writes int    // calls of Write
}

func newPipe(size int) *pipe {
	p := &pipe{size: size, step: 1 << 30}
	p.cond = sync.NewCond(&p.mu)
	return p
}

func (p *pipe) read(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for (len(p.buf) == 0 && !p.ended || p.step == 0) && !p.cut {
		p.cond.Wait()
	}
	switch {
	case p.cut:
		return 0, io.ErrClosedPipe
	case len(p.buf) == 0:
		return 0, io.EOF
	}
	n := copy(b, p.buf[:min(len(p.buf), p.step)])
	p.buf = p.buf[n:]
	p.cond.Broadcast()
	return n, nil
}

func (p *pipe) write(b []byte) (n int, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.writes++
	for n < len(b) {
		for len(p.buf) >= p.size && !p.ended && !p.cut {
			p.cond.Wait()
		}
		if p.ended || p.cut {
			return n, io.ErrClosedPipe
		}
		part := b[n:min(len(b), n+p.size-len(p.buf))]
		if p.fuse > 0 {
			part = part[:min(len(part), p.fuse)]
			if p.fuse -= len(part); p.fuse == 0 {
				p.cut = true
			}
		}
		p.buf = append(p.buf, part...)
		p.log = append(p.log, part...)
		n += len(part)
		p.cond.Broadcast()
	}
	return n, nil
}

func (p *pipe) change(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f()
	p.cond.Broadcast()
}

// reads sets how many bytes a Read returns at most; 0: it waits.
func (p *pipe) reads(step int) { p.change(func() { p.step = step }) }

// end is one end of a connection in memory.
type end struct{ in, out *pipe }

func (e *end) Read(b []byte) (int, error)  { return e.in.read(b) }
func (e *end) Write(b []byte) (int, error) { return e.out.write(b) }

func (e *end) Close() error {
	e.in.change(func() { e.in.cut = true })
	e.out.change(func() { e.out.ended = true })
	return nil
}

// duplex returns the two ends of a connection that holds size bytes in each direction.
func duplex(size int) (a, b *end) {
	up, down := newPipe(size), newPipe(size)
	return &end{in: down, out: up}, &end{in: up, out: down}
}

// roomy is more than any test sends.
const roomy = 64 << 20

// side is a Link and what has happened to it.
type side struct {
	link *Link
	conn io.ReadWriteCloser
	done chan struct{} // closed when Run has returned
	err  error         // what it returned

	handle func(wire.Frame) error // what Frame does beside noting the frame
	answer bool                   // a Goodbye is answered
	pull   func(dst []byte) ([]byte, uint64)

	mu       sync.Mutex // guards what follows
	frames   []wire.Frame
	goodbye  []wire.Goodbye
	silences int
	ends     []ended
}

func (s *side) Frame(f wire.Frame) error {
	f.Body = bytes.Clone(f.Body)
	s.mu.Lock()
	s.frames = append(s.frames, f)
	s.mu.Unlock()
	if s.handle != nil {
		return s.handle(f)
	}
	return nil
}

func (s *side) Pull(dst []byte) ([]byte, uint64) {
	if s.pull == nil {
		return dst, 0
	}
	return s.pull(dst)
}

func (s *side) Goodbye(g wire.Goodbye) {
	s.mu.Lock()
	s.goodbye = append(s.goodbye, g)
	s.mu.Unlock()
	if s.answer {
		s.link.Goodbye(wire.Goodbye{})
	}
}

// taken returns the frames that have arrived since the last call.
func (s *side) taken() []wire.Frame {
	s.mu.Lock()
	defer s.mu.Unlock()
	frames := s.frames
	s.frames = nil
	return frames
}

// words are the bodies of the frames that have arrived since the last call.
func (s *side) words() (words []string) {
	for _, f := range s.taken() {
		words = append(words, string(f.Body))
	}
	return words
}

func (s *side) goodbyes() []wire.Goodbye {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.goodbye
}

// say sends a frame that has a body to be recognized by.
func (s *side) say(words ...string) {
	for _, w := range words {
		s.link.Send(word(w))
	}
}

func word(w string) func([]byte) []byte {
	return func(dst []byte) []byte { return wire.Append(dst, wire.TypeAnswer, []byte(w)) }
}

// The limits of the links in these tests.
const (
	testFrame = 64 << 10
	testLimit = 8 << 20
)

// in is where the bytes of the other side arrive.
func (s *side) in() *pipe { return s.conn.(*end).in }

// newSide returns a Link that does not run yet.
func newSide(conn io.ReadWriteCloser) *side {
	return newSideWith(conn, Options{MaxFrame: testFrame, Limit: testLimit})
}

func newSideWith(conn io.ReadWriteCloser, opt Options) *side {
	s := &side{conn: conn, answer: true, done: make(chan struct{})}
	s.link = New(s, opt)
	s.link.out.known[1] = &named{number: 1} // what most tests send has a name that the peer knows
	return s
}

func (s *side) run() {
	s.err = s.link.Carry(s.conn, Start{})
	close(s.done)
}

func (s *side) Silent(time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.silences++
}

func (s *side) Ended(err error, lost int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ends = append(s.ends, ended{err, lost})
}

// ended is what a Link has said of its end.
type ended struct {
	err  error
	lost int
}

// linked calls test with two links to each other, in a bubble of its own, and kills what is left of
// them. That no goroutine is left then is what the bubble checks.
func linked(t *testing.T, size int, test func(t *testing.T, a, b *side)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		x, y := duplex(size)
		a, b := newSide(x), newSide(y)
		go a.run()
		go b.run()
		defer finish(a, b)
		test(t, a, b)
	})
}

func finish(sides ...*side) {
	for _, s := range sides {
		s.link.Kill(nil)
		<-s.done
	}
}

// owner counts how often each event was settled, by its size.
type owner struct {
	mu      sync.Mutex
	settled map[int64]int
	fates   map[int64]window.Fate
}

func newOwner() *owner {
	return &owner{settled: map[int64]int{}, fates: map[int64]window.Fate{}}
}

func (o *owner) Settle(f *window.Flight) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.settled[f.Size]++
	o.fates[f.Size] = f.Fate()
}

func (o *owner) count() (n int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, c := range o.settled {
		n += c
	}
	return n
}

// event sends an event whose flight has the size id, and lets go of it.
func (s *side) event(o *owner, id int64, prompt bool, payload []byte) {
	e := wire.Event{Name: 1, Payload: payload}
	if prompt {
		e.Flags |= wire.FlagPrompt
	}
	f := window.NewFlight(o, window.Item{Size: id, Prompt: prompt})
	s.link.Event(&e, f, "event")
	f.Drop()
}

// request sends a request, as event does, with id as its number.
func (s *side) request(o *owner, id int64) {
	f := window.NewFlight(o, window.Item{Size: id})
	s.link.Event(&wire.Event{Name: 1, Flags: wire.FlagRequest, Call: uint64(id)}, f, "event")
	f.Drop()
}

// arrived returns the events that have arrived since the last call.
func (s *side) arrived(t interface{ Fatal(...any) }) (events []wire.Event) {
	for _, f := range s.taken() {
		if f.Type != wire.TypeEvent {
			continue
		}
		var e wire.Event
		if err := wire.ParseEvent(f.Body, &e); err != nil {
			t.Fatal(err)
		}
		events = append(events, e)
	}
	return events
}

// took reports events as taken, each of that many bytes.
func (s *side) took(size int64, events ...wire.Event) {
	for i := range events {
		e := &events[i]
		f := window.NewFlight(discard{}, window.Item{
			Size: size, Slot: e.Slot, Prompt: e.Flags&wire.FlagPrompt != 0,
		})
		s.link.Took(f.Item)
		f.Drop()
	}
}

// discard is the owner of flights that nobody waits for.
type discard struct{}

func (discard) Settle(*window.Flight) {}

// record returns the record that has the frames as its body.
func record(first uint64, frames ...[]byte) []byte {
	body := bytes.Join(frames, nil)
	buf := make([]byte, wire.HeaderSize, wire.HeaderSize+len(body))
	wire.PutHeader(buf, body, first)
	return append(buf, body...)
}

// parsed takes what a link has written apart; a test fails if its receiver would not accept it.
func parsed(t *testing.T, data []byte) (records [][]wire.Frame) {
	t.Helper()
	var next uint64
	for len(data) > 0 {
		h, err := wire.ParseHeader(data, wire.RecordBody+testFrame)
		if err != nil || h.First != next {
			t.Fatalf("%+v, where position %d was due: %v", h, next, err)
		}
		body := data[wire.HeaderSize : wire.HeaderSize+h.Length]
		data = data[wire.HeaderSize+h.Length:]
		if err := h.CheckBody(body); err != nil {
			t.Fatal(err)
		}
		var frames []wire.Frame
		for len(body) > 0 {
			var f wire.Frame
			if f, body, err = wire.Next(body, testFrame); err != nil {
				t.Fatal(err)
			}
			if f.Type.Numbered() {
				next++
			}
			frames = append(frames, f)
		}
		records = append(records, frames)
	}
	return records
}
