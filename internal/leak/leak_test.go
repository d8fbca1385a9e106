package leak

import (
	"runtime"
	"strings"
	"testing"
	"time"
)

func TestMain(m *testing.M) { Main(m) }

// A goroutine that stays is reported with where it is, and one that ends is not.
func TestSettles(t *testing.T) {
	before, release := runtime.NumGoroutine(), make(chan struct{})
	var report strings.Builder
	go func() { <-release }()
	if settles(before, 10*time.Millisecond, &report) {
		t.Error("a goroutine is left, and that was not seen")
	}
	if !strings.Contains(report.String(), "TestSettles") {
		t.Errorf("it does not say where the goroutine is:\n%s", &report)
	}
	report.Reset()
	close(release)
	if !settles(before, time.Minute, &report) || report.Len() > 0 {
		t.Errorf("nothing is left, and it says\n%s", &report)
	}
}
