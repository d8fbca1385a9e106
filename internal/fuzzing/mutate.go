package fuzzing

import (
	"encoding/binary"
	"math/rand/v2"
)

// longest is how long an input can be.
const longest = 8 << 10

// mutator makes inputs of seeds. It is for one goroutine.
type mutator struct {
	rand *rand.Rand
	pool [][]byte
	data []byte // the input, made anew each time
	part []byte
}

// next returns another input, which is good until the next call.
func (m *mutator) next() []byte {
	m.data = m.data[:0]
	if len(m.pool) > 0 {
		m.data = append(m.data, m.pool[m.rand.IntN(len(m.pool))]...)
	}
	for {
		m.change()
		if len(m.data) > longest {
			m.data = m.data[:longest]
		}
		if m.rand.IntN(3) == 0 { // three changes on the average
			return m.data
		}
	}
}

// interesting are numbers beside which something else begins.
var interesting = []uint64{
	0, 1, 2, 7, 8, 15, 16, 23, 24, 31, 32, 63, 64, 127, 128, 255, 256, 1<<12 - 1, 1 << 12,
	1<<14 - 1, 1 << 14, 1<<15 - 1, 1 << 15, 1<<16 - 1, 1 << 16, 1 << 20, 1<<31 - 1, 1 << 31,
	1<<32 - 1, 1 << 32, 1<<63 - 1, 1 << 63, 1<<64 - 1,
}

// change makes one change.
func (m *mutator) change() {
	at := m.rand.IntN(len(m.data) + 1)
	if at == len(m.data) { // nothing is here
		m.insert(at, m.number())
		return
	}
	length := 1 + m.rand.IntN(min(len(m.data)-at, 1<<m.rand.IntN(8)))
	switch m.rand.IntN(9) {
	case 0:
		m.data[at] ^= 1 << m.rand.IntN(8)
	case 1:
		m.data[at] = byte(m.rand.Uint32())
	case 2:
		m.data[at] += byte(m.rand.IntN(9)) - 4
	case 3:
		copy(m.data[at:], m.number())
	case 4:
		m.insert(at, m.number())
	case 5:
		m.data = append(m.data[:at], m.data[at+length:]...)
	case 6:
		for range 1 + m.rand.IntN(4) {
			m.insert(at, append(m.part[:0], m.data[at:at+length]...))
		}
	case 7:
		if m.rand.IntN(4) == 0 {
			m.data = m.data[:at]
		}
	case 8:
		m.splice(at)
	}
}

// number is a number, in one of the forms that numbers have.
func (m *mutator) number() []byte {
	n := interesting[m.rand.IntN(len(interesting))]
	switch m.part = m.part[:0]; m.rand.IntN(5) {
	case 0:
		m.part = append(m.part, byte(n))
	case 1:
		m.part = binary.BigEndian.AppendUint16(m.part, uint16(n))
	case 2:
		m.part = binary.BigEndian.AppendUint32(m.part, uint32(n))
	case 3:
		m.part = binary.BigEndian.AppendUint64(m.part, n)
	case 4:
		m.part = binary.AppendUvarint(m.part, n)
	}
	return m.part
}

// splice puts a part of a seed in, or goes on as that does.
func (m *mutator) splice(at int) {
	if len(m.pool) == 0 {
		return
	}
	other := m.pool[m.rand.IntN(len(m.pool))]
	if len(other) == 0 {
		return
	}
	from := m.rand.IntN(len(other))
	if m.rand.IntN(2) == 0 {
		m.data = append(m.data[:at], other[from:]...)
		return
	}
	m.insert(at, append(m.part[:0], other[from:from+1+m.rand.IntN(len(other)-from)]...))
}

// insert puts part in. It is in m.part, or a copy of what would move.
func (m *mutator) insert(at int, part []byte) {
	m.part = part
	m.data = append(m.data, part...)
	copy(m.data[at+len(part):], m.data[at:])
	copy(m.data[at:], part)
}
