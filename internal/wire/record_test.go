package wire_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"math"
	"testing"

	"pgregory.net/rapid"

	"github.com/lahja-go/lahja/internal/fuzzing"
	"github.com/lahja-go/lahja/internal/wire"
)

// recordOf returns the record that has body.
func recordOf(body []byte, first uint64) []byte {
	buf := make([]byte, wire.HeaderSize, wire.HeaderSize+len(body))
	wire.PutHeader(buf, body, first)
	return append(buf, body...)
}

// open reads a record as a receiver does.
func open(data []byte, limit int) (wire.Header, []byte, error) {
	if len(data) < wire.HeaderSize {
		return wire.Header{}, nil, errors.New("short")
	}
	h, err := wire.ParseHeader(data, limit)
	if err != nil {
		return h, nil, err
	}
	body := data[wire.HeaderSize:]
	if len(body) < h.Length {
		return h, nil, errors.New("short")
	}
	return h, body[:h.Length], h.CheckBody(body[:h.Length])
}

// TestHeader compares with bytes that were computed from the specification alone.
func TestHeader(t *testing.T) {
	body := []byte("hello, bus")
	got := make([]byte, wire.HeaderSize)
	wire.PutHeader(got, body, 0x0102030405060708)
	table := crc32.MakeTable(0x82f63b78) // Castagnoli's polynomial, reversed
	want := []byte{0, 0, 0, 10, 1, 2, 3, 4, 5, 6, 7, 8}
	for range 2 {
		sum := crc32.Checksum(body, table)
		want = append(want, byte(sum>>24), byte(sum>>16), byte(sum>>8), byte(sum))
		body = want
	}
	if !bytes.Equal(got, want) {
		t.Errorf("got  % x\nwant % x", got, want)
	}
}

func TestHeaderLength(t *testing.T) {
	for _, c := range []struct {
		length uint32
		limit  int
		ok     bool
	}{
		{0, 100, false},
		{1, 100, true},
		{100, 100, true},
		{101, 100, false},
		{math.MaxInt32, 100, false},
		{math.MaxInt32 + 1, 100, false},
		{math.MaxUint32, 100, false},
		{wire.RecordBody + wire.MaxFrame, wire.RecordBody + wire.MaxFrame, true},
		{wire.RecordBody + wire.MaxFrame + 1, wire.RecordBody + wire.MaxFrame, false},
	} {
		head := make([]byte, wire.HeaderSize)
		wire.PutHeader(head, nil, 7)
		head[0], head[1] = byte(c.length>>24), byte(c.length>>16)
		head[2], head[3] = byte(c.length>>8), byte(c.length)
		sum := crc32.Checksum(head[:16], crc32.MakeTable(crc32.Castagnoli))
		copy(head[16:], []byte{byte(sum >> 24), byte(sum >> 16), byte(sum >> 8), byte(sum)})
		h, err := wire.ParseHeader(head, c.limit)
		if (err == nil) != c.ok {
			t.Errorf("length %d, limit %d: %v", c.length, c.limit, err)
		}
		if err == nil && (h.Length != int(c.length) || h.First != 7) {
			t.Errorf("length %d: %+v", c.length, h)
		}
	}
}

// A record arrives as it was sent, and with any one bit changed it does not arrive.
func recordProperty(t *rapid.T) {
	body := rapid.SliceOfN(rapid.Byte(), 1, 200).Draw(t, "body")
	first := rapid.Uint64().Draw(t, "first")
	data := recordOf(body, first)
	h, got, err := open(data, len(body))
	if err != nil || h.First != first || !bytes.Equal(got, body) {
		t.Fatalf("%+v, % x: %v", h, got, err)
	}
	for bit := range 8 * len(data) {
		data[bit/8] ^= 1 << (bit % 8)
		_, _, err := open(data, len(body))
		switch {
		case bit < 8*wire.HeaderSize && err != wire.ErrHeader:
			t.Fatalf("bit %d of the head changed: %v", bit, err)
		case bit >= 8*wire.HeaderSize && err != wire.ErrBody:
			t.Fatalf("bit %d changed, in the body: %v", bit, err)
		}
		data[bit/8] ^= 1 << (bit % 8)
	}
}

func TestRecordProperty(t *testing.T) { rapid.Check(t, recordProperty) }

func FuzzRecordProperty(f *testing.F) {
	addSeeds(f)
	f.Fuzz(rapid.MakeFuzz(recordProperty))
}

// recordTarget reads any bytes as records, and what is in those as frames; and again with the
// checksums made right, without which hardly a change gets further.
func recordTarget() fuzzing.Target {
	seeds := [][]byte{
		recordOf(wire.AppendUvarints(nil, wire.TypePing), 0),
		append(recordOf([]byte{1}, 1), recordOf(make([]byte, 300), 2)...),
		bytes.Join(recorded(), nil),
	}
	return fuzzing.Target{Name: "FuzzRecord", Part: 220, Seeds: append(seeds, recorded()...),
		Run: func(t rapid.TB, data []byte) {
			records(t, data)
			records(t, summed(data))
		}}
}

// records takes data apart and requires that it is what the records, put together again, are.
func records(t rapid.TB, data []byte) {
	const limit = 1 << 12
	for {
		h, body, err := open(data, limit)
		if err != nil {
			return
		}
		if h.Length < 1 || h.Length > limit || h.Length != len(body) {
			t.Fatalf("%+v for %d bytes", h, len(body))
		}
		if again := recordOf(body, h.First); !bytes.Equal(again, data[:len(again)]) {
			t.Fatalf("read from % x\nwritten % x", data[:len(again)], again)
		}
		frames(t, body, limit)
		data = data[wire.HeaderSize+h.Length:]
	}
}

// summed is data with the checksums made right of each record that is whole.
func summed(data []byte) []byte {
	data = bytes.Clone(data)
	for rest := data; len(rest) > wire.HeaderSize; {
		length := uint64(binary.BigEndian.Uint32(rest))
		body := rest[wire.HeaderSize:]
		if length > uint64(len(body)) {
			break
		}
		wire.PutHeader(rest, body[:length], binary.BigEndian.Uint64(rest[4:]))
		rest = body[length:]
	}
	return data
}

// recorded are the records of a session.
func recorded() (records [][]byte) {
	for _, s := range worked() {
		record, _ := bytes.CutPrefix(s.bytes, []byte(wire.Preface))
		records = append(records, record)
	}
	return records
}

func FuzzRecord(f *testing.F) { recordTarget().Fuzz(f) }

func TestArbitraryRecordsProperty(t *testing.T) { recordTarget().Check(t) }

// The targets of this package, each with its part of very many executions.
func TestFuzzAtLength(t *testing.T) {
	fuzzing.AtLength(t, framesTarget(), recordTarget(), bodyTarget(t), takenTarget())
}
