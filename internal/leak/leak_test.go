package leak

import (
	"strings"
	"testing"
	"time"
)

func TestMain(m *testing.M) { Main(m) }

// A goroutine that stays is reported with where it is, and one that ends is not.
func TestSettles(t *testing.T) {
	var report strings.Builder
	if settles(1, func() int { return 2 }, 10*time.Millisecond, &report) {
		t.Error("a goroutine is left, and that was not seen")
	}
	text := report.String()
	if !strings.Contains(text, "1 goroutines at the start, 2 at the end") ||
		!strings.Contains(text, "leak.TestSettles") { // which is one that is there
		t.Errorf("it does not say how many goroutines there are, and where:\n%s", text)
	}
	report.Reset()
	left := 5
	ending := func() int {
		left--
		return left
	}
	if !settles(1, ending, time.Minute, &report) || report.Len() > 0 {
		t.Errorf("nothing is left, and it says\n%s", &report)
	}
}
