package core

import (
	"bytes"
	"context"
	"fmt"
	"log"
	"log/slog"
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

// While the handler does not return, so many lines wait, and of the others there is one that says
// how many they were.
func TestJournalIsBounded(t *testing.T) {
	before, writer, flags := slog.Default(), log.Writer(), log.Flags()
	defer func() {
		slog.SetDefault(before)
		log.SetOutput(writer)
		log.SetFlags(flags)
	}()
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
