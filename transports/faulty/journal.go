package faulty

import (
	"fmt"
	"strings"
)

// Stats is what has happened so far.
type Stats struct {
	Connections uint64 // that were made
	Refused     uint64 // Dials that Refuse made fail
	Cut         uint64 // connections that were broken
	Stalled     uint64 // directions of connections that were stopped
	Flipped     uint64 // bytes that were changed
	Swallowed   uint64 // bytes that vanished
	Out, In     uint64 // bytes that have gone, those that vanished included
}

// recent is how many entries are kept: what led to a failure is near the end.
const recent = 100

// journal is what a Transport has injected; its lock guards it.
type journal struct {
	stats   Stats
	entries []string // the last ones; number i of all is at i modulo recent
	count   int      // of all
}

// record notes what was injected.
func (t *Transport) record(format string, args ...any) {
	entry := fmt.Sprintf(format, args...)
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.entries) < recent {
		t.entries = append(t.entries, entry)
	} else {
		t.entries[t.count%recent] = entry
	}
	t.count++
}

// tally changes the figures.
func (t *Transport) tally(change func(*Stats)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	change(&t.stats)
}

// Stats returns what has happened so far.
func (t *Transport) Stats() Stats {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.statsLocked()
}

func (t *Transport) statsLocked() Stats {
	stats := t.stats
	stats.Stalled, stats.Swallowed = t.stalls.Load(), t.swallowed.Load()
	stats.Out, stats.In = t.out.Load(), t.in.Load()
	return stats
}

// String tells the seed, the figures and the last hundred faults that were injected, in lines.
func (t *Transport) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	var s strings.Builder
	fmt.Fprintf(&s, "faulty: seed %d, %+v", t.seed, t.statsLocked())
	first := max(0, t.count-recent)
	if first > 0 {
		fmt.Fprintf(&s, "\n%d entries are left out", first)
	}
	for i := first; i < t.count; i++ {
		fmt.Fprintf(&s, "\n%s", t.entries[i%recent])
	}
	return s.String()
}
