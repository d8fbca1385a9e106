package lahjatest

import "time"

// Hurry has what ends with the bus take no longer than this: a process has our clock.
func (b *Bus) Hurry(late time.Duration) { b.late = late }
