package core

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// The first attempt to connect comes at once. The pauses before the others are twice as long each
// time, by chance up to half of it shorter, and two seconds at most.
func TestBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b backoff
		differ := map[time.Duration]bool{}
		for n := range 100 {
			begin, pause := time.Now(), time.Duration(0)
			if n > 0 {
				pause = min(20*time.Millisecond<<min(n-1, 10), 2*time.Second)
			}
			b.wait(context.Background())
			took := time.Since(begin)
			if took < pause/2 || took > pause {
				t.Errorf("pause %d is %v, of %v", n, took, pause)
			}
			differ[took] = true
		}
		if len(differ) < 90 {
			t.Errorf("of 100 pauses %d differ", len(differ))
		}
	})
}
