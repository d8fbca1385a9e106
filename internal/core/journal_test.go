package core

import (
	"bytes"
	"context"
	"fmt"
	"log"
	"log/slog"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
)

// gated is a slog handler that does not return until its gate is open.
type gated struct {
	slog.Handler
	gate chan struct{}
}

func (g gated) Handle(ctx context.Context, r slog.Record) error {
	<-g.gate
	return g.Handler.Handle(ctx, r)
}

// restoreLog has the test's end undo what [slog.SetDefault] does.
func restoreLog(t *testing.T) {
	before, writer, flags := slog.Default(), log.Writer(), log.Flags()
	t.Cleanup(func() {
		slog.SetDefault(before)
		log.SetOutput(writer)
		log.SetFlags(flags)
	})
}

// While the handler does not return, so many lines wait, and of the others there is one that says
// how many they were.
func TestJournalIsBounded(t *testing.T) {
	restoreLog(t)
	synctest.Test(t, func(t *testing.T) {
		var text bytes.Buffer
		gate := make(chan struct{})
		options := &slog.HandlerOptions{AddSource: true, Level: slog.LevelWarn}
		slog.SetDefault(slog.New(gated{slog.NewTextHandler(&text, options), gate}))
		n := &Node{}
		n.warn("first", "n", 1)
		synctest.Wait()
		const more = 10
		for i := range maxLines + more {
			n.warn(fmt.Sprint("line ", i))
		}
		close(gate)
		n.journal.wait()
		lines := strings.Split(strings.TrimSpace(text.String()), "\n")
		if len(lines) != maxLines+2 {
			t.Fatalf("%d lines", len(lines))
		}
		for i, line := range lines[1 : maxLines+1] {
			if !strings.Contains(line, fmt.Sprintf("msg=\"line %d\"", i)) ||
				!strings.Contains(line, "journal_test.go:") {
				t.Errorf("line %d is %s", i, line)
			}
		}
		if last := lines[maxLines+1]; !strings.Contains(last, fmt.Sprint("lines=", more)) {
			t.Errorf("the last line is %s", last)
		}
	})
}

// leaving is a slog handler that ends its goroutine for each line but the last.
type leaving struct{ slog.Handler }

func (l leaving) Handle(ctx context.Context, r slog.Record) error {
	if r.Message != "last" {
		runtime.Goexit()
	}
	return l.Handler.Handle(ctx, r)
}

// A handler that ends its goroutine costs its line, and no other.
func TestJournalOutlivesItsGoroutine(t *testing.T) {
	restoreLog(t)
	synctest.Test(t, func(t *testing.T) {
		var text bytes.Buffer
		slog.SetDefault(slog.New(leaving{slog.NewTextHandler(&text, nil)}))
		n := &Node{}
		for _, line := range []string{"first", "second", "last"} {
			n.warn(line)
		}
		n.journal.wait()
		synctest.Wait()
		if !strings.Contains(text.String(), "last") {
			t.Error("nothing is logged any more")
		}
	})
}
