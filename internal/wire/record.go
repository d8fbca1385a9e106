// Package wire is the format of what endpoints and buses send each other, as docs/wire.md
// specifies it: records, the frames in them, and the handshake. It is pure: bytes in, values out.
//
// All integers of fixed size are big-endian. A uvarint is the variable-length encoding of
// [encoding/binary].
package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

// Preface is what each side sends first, before any record, so that a peer that speaks something
// else is found out by its first bytes.
const Preface = "LAHJA/1\n"

// Sizes in bytes.
const (
	HeaderSize  = 20       // of a record
	FrameHeader = 6        // of a frame
	RecordBody  = 64 << 10 // of a record's body, beside one frame of any size
	MaxFrame    = 1 << 20  // of a frame's body, unless another limit is set
	MaxName     = 255      // of the name of an endpoint, an event, a group or a response
	maxExt      = 256      // of a frame's extension
)

// MaxNames is how many names there may be in To, in Except and in From.
const MaxNames = 1024

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Header is the head of a record:
//
//	offset  size  field
//	0       4     length of the body
//	4       8     first: the position of the first numbered frame in the body
//	12      4     CRC-32C of the body
//	16      4     CRC-32C of the 16 bytes before
//
// The second check finds a changed length before anything waits for that many bytes.
type Header struct {
	Length int
	First  uint64
	Sum    uint32
}

// PutHeader writes the head for body into the first HeaderSize bytes of dst.
func PutHeader(dst, body []byte, first uint64) {
	binary.BigEndian.PutUint32(dst[0:], uint32(len(body)))
	binary.BigEndian.PutUint64(dst[4:], first)
	binary.BigEndian.PutUint32(dst[12:], crc32.Checksum(body, castagnoli))
	binary.BigEndian.PutUint32(dst[16:], crc32.Checksum(dst[:16], castagnoli))
}

// Errors of a record that was changed on its way, or is none.
var (
	ErrHeader = errors.New("the head of a record does not match its checksum")
	ErrBody   = errors.New("the body of a record does not match its checksum")
)

// ParseHeader reads a record's head from the HeaderSize bytes of src. limit is the largest body.
func ParseHeader(src []byte, limit int) (Header, error) {
	if crc32.Checksum(src[:16], castagnoli) != binary.BigEndian.Uint32(src[16:]) {
		return Header{}, ErrHeader
	}
	length := binary.BigEndian.Uint32(src)
	if length == 0 || uint64(length) > uint64(limit) {
		return Header{}, fmt.Errorf(
			"a record of %d bytes, where 1 to %d are allowed", length, limit)
	}
	return Header{
		Length: int(length),
		First:  binary.BigEndian.Uint64(src[4:]),
		Sum:    binary.BigEndian.Uint32(src[12:]),
	}, nil
}

// CheckBody compares body with the checksum in the record's head.
func (h Header) CheckBody(body []byte) error {
	if crc32.Checksum(body, castagnoli) != h.Sum {
		return ErrBody
	}
	return nil
}
