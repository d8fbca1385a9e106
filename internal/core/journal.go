package core

import (
	"context"
	"log/slog"
	"runtime"
	"sync"
	"time"
)

// logTime is how long Close waits for what is to be logged.
const logTime = 100 * time.Millisecond

// maxLines is how many lines wait for the program's slog handler.
const maxLines = 64

// journal is what a Node has to say in the program's log. The slog handler there is a function of
// the user, which may take as long as it likes: so it is called by a goroutine that lives only
// while there is something to be said, and that nothing of the bus waits for. Close does for a
// moment, so that a program that exits then has said all.
type journal struct {
	mu      sync.Mutex    // guards what follows
	lines   []entry       // that wait
	dropped int           // lines for which there was no room, not yet told
	silent  chan struct{} // closed when all is said; nil: it is
}

// entry is a line of the log, and what writes it.
type entry struct {
	handler slog.Handler
	record  slog.Record
}

func (n *Node) warn(message string, args ...any)   { n.journal.add(slog.LevelWarn, message, args) }
func (n *Node) report(message string, args ...any) { n.journal.add(slog.LevelError, message, args) }

// add has a line logged as of now; callers are warn and report.
func (j *journal) add(level slog.Level, message string, args []any) {
	var pc [1]uintptr
	runtime.Callers(3, pc[:]) // the caller of warn or report
	r := slog.NewRecord(time.Now(), level, message, pc[0])
	r.Add(args...)
	j.mu.Lock()
	defer j.mu.Unlock()
	if len(j.lines) == maxLines {
		j.dropped++
		return
	}
	j.lines = append(j.lines, entry{slog.Default().Handler(), r})
	if j.silent == nil {
		j.silent = make(chan struct{})
		go j.write()
	}
}

// write is the goroutine: it hands over one line after the other, in order. A handler may end it by
// runtime.Goexit, as t.FailNow does; another goes on then.
func (j *journal) write() {
	through := false
	defer func() {
		if !through {
			go j.write()
		}
	}()
	for {
		e, more := j.next()
		if !more {
			through = true
			return
		}
		if ctx := context.Background(); e.handler.Enabled(ctx, e.record.Level) {
			_ = e.handler.Handle(ctx, e.record) // there is nowhere else to say so
		}
	}
}

func (j *journal) next() (e entry, more bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	switch {
	case len(j.lines) > 0:
		e = j.lines[0]
		j.lines = j.lines[1:]
	case j.dropped > 0:
		e = entry{slog.Default().Handler(), slog.NewRecord(time.Now(), slog.LevelWarn,
			"lahja: lines have not been logged, for the handler of the log did not return", 0)}
		e.record.Add("lines", j.dropped)
		j.dropped = 0
	default:
		close(j.silent)
		j.silent = nil
		return e, false
	}
	return e, true
}

// wait waits until all is said, for a moment.
func (j *journal) wait() {
	j.mu.Lock()
	silent := j.silent
	j.mu.Unlock()
	if silent == nil {
		return
	}
	timer := time.NewTimer(logTime)
	defer timer.Stop()
	select {
	case <-silent:
	case <-timer.C:
	}
}
