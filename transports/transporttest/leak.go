package transporttest

import (
	"bytes"
	"context"
	"math/rand/v2"
	"runtime/pprof"
	"strconv"
	"strings"
	"testing"

	"github.com/lahja-go/lahja/internal/leak"
)

// Main runs the tests of a package and fails if they leave a goroutine behind. It is called by
// TestMain and does not return.
func Main(m *testing.M) { leak.Main(m) }

// leavesNone runs f, closes what it has opened, and breaks the law if then a goroutine is left that
// f or one of its goroutines has started. They are known by a label that goroutines inherit, so
// that others, of tests that run at the same time, do not count.
func (tr *trial) leavesNone(f func()) {
	const key = "transporttest"
	label := strconv.FormatUint(rand.Uint64(), 36)
	pprof.Do(context.Background(), pprof.Labels(key, label), func(context.Context) { f() })
	tr.step("closing everything")
	tr.closeAll()
	if !leak.Eventually(tr.patience(), func() bool { return labelled(label) == "" }) {
		tr.failf("goroutines are left after everything was closed:\n%s", labelled(label))
	}
}

// labelled returns the part of the goroutine profile that has the label.
func labelled(label string) string {
	var profile bytes.Buffer
	pprof.Lookup("goroutine").WriteTo(&profile, 1)
	var found []string
	for group := range strings.SplitSeq(profile.String(), "\n\n") {
		if strings.Contains(group, label) {
			found = append(found, group)
		}
	}
	return strings.Join(found, "\n\n")
}
