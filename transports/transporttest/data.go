package transporttest

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"

	"github.com/lahja-go/lahja"
)

// finding is an error to be reported, which may begin with the name of what was called.
func finding(format string, args ...any) error {
	return fmt.Errorf(format, args...)
}

// text is the endless sequence of bytes that a seed stands for: both ends of a connection can
// produce it, so that nothing needs to be kept for comparing.
func text(seed uint64) io.Reader {
	var key [32]byte
	binary.LittleEndian.PutUint64(key[:], seed)
	return rand.NewChaCha8(key)
}

// lengths says how many bytes the next Write or Read has to do with.
type lengths func() int

// exactly is always n.
func exactly(n int) lengths {
	return func() int { return n }
}

// atRandom is anything from 1 byte to 32 KiB; each order of magnitude is as likely.
func atRandom(seed uint64) lengths {
	random := rand.New(rand.NewPCG(seed, 0))
	return func() int { return 1 + random.IntN(1<<random.IntN(16)) }
}

// send writes the first size bytes of the seed's text.
func send(c lahja.Conn, seed uint64, size int, next lengths) error {
	source := text(seed)
	for size > 0 {
		p := make([]byte, min(next(), size))
		source.Read(p)
		if err := write(c, p); err != nil {
			return err
		}
		size -= len(p)
	}
	return nil
}

// write is Write, held to what io.Writer says.
func write(c lahja.Conn, p []byte) error {
	n, err := c.Write(p)
	if err != nil {
		return finding("Write failed: %w", err)
	}
	if n != len(p) {
		return finding("Write took %d of %d bytes and returned no error", n, len(p))
	}
	return nil
}

// maxEmptyReads is how often Read may return neither bytes nor an error, as in package bufio.
const maxEmptyReads = 100

// expect reads size bytes, which must be the first of the seed's text.
func expect(c lahja.Conn, seed uint64, size int, next lengths) error {
	source := text(seed)
	for got, empty := 0, 0; got < size; {
		p := make([]byte, min(next(), size-got))
		n, err := read(c, p)
		if err := same(p[:n], source, got); err != nil {
			return err
		}
		got += n
		if err != nil && got < size {
			return finding("Read failed after %d of %d bytes: %w", got, size, err)
		}
		if empty++; n > 0 {
			empty = 0
		}
		if empty > maxEmptyReads {
			return io.ErrNoProgress
		}
	}
	return nil
}

// read is Read, held to what io.Reader says.
func read(c lahja.Conn, p []byte) (int, error) {
	n, err := c.Read(p)
	if n < 0 || n > len(p) {
		return 0, finding("Read returned %d for a buffer of %d bytes", n, len(p))
	}
	return n, err
}

// same compares what was read with what comes next in source.
func same(p []byte, source io.Reader, offset int) error {
	want := make([]byte, len(p))
	source.Read(want)
	if bytes.Equal(p, want) {
		return nil
	}
	i := 0
	for p[i] == want[i] {
		i++
	}
	return fmt.Errorf("byte %d arrived as %#02x, but was written as %#02x",
		offset+i, p[i], want[i])
}

// expectEnd reads io.EOF and nothing else, as often as it is asked.
func expectEnd(c lahja.Conn) error {
	for range 3 {
		if n, err := read(c, make([]byte, 16)); n != 0 || err != io.EOF {
			return fmt.Errorf("after the last byte Read returned %d and the error %v, not io.EOF",
				n, err)
		}
	}
	return nil
}

// expectFailure reads until Read fails, which is what it is for.
func expectFailure(c lahja.Conn) error {
	for empty := 0; empty <= maxEmptyReads; empty++ {
		n, err := read(c, make([]byte, 1024))
		if err != nil {
			return nil
		}
		if n > 0 {
			empty = 0
		}
	}
	return io.ErrNoProgress
}
