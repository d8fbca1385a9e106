package codec

import (
	"bytes"
	"sync"
)

var buffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// Buffer returns an empty buffer to encode into, for the caller to [Recycle].
func Buffer() *bytes.Buffer { return buffers.Get().(*bytes.Buffer) }

// Recycle keeps a buffer's memory for others, who overwrite what was in it. That of a big one is
// not kept; one of 64 KiB is not big, and takes more than that when it has grown.
func Recycle(buf *bytes.Buffer) {
	const most = 256 << 10
	if buf.Cap() <= most {
		buf.Reset()
		buffers.Put(buf)
	}
}
