package tcp

import (
	"time"

	"github.com/lahja-go/lahja"
)

// Released reports whether the connection's socket has been closed.
func Released(c lahja.Conn) bool {
	return c.(*conn).tcp.SetDeadline(time.Time{}) != nil
}
