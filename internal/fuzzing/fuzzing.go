// Package fuzzing is for tests. A target that is fuzzed by the go command, with an eye on which
// code it reaches, also runs here, in this process and without that: fewer discoveries for each
// execution, and hundreds of times as many executions.
package fuzzing

import (
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// Target is what has to hold of any bytes.
type Target struct {
	Name  string // of its Fuzz function
	Part  int    // how many of a thousand executions, of all targets there are, it gets
	Seeds [][]byte
	Run   func(t rapid.TB, data []byte) // concurrently; it must not change data, and fails by Fatal
}

// Fuzz is the body of the target's Fuzz function.
func (g Target) Fuzz(f *testing.F) {
	for _, seed := range g.Seeds {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, data []byte) { g.Run(t, data) })
}

// Check tries the target as a property: of seeds that were damaged, of which rapid finds the
// smallest damage that breaks it, and of any bytes.
func (g Target) Check(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		data := rapid.SliceOfN(rapid.Byte(), 0, 40).Draw(t, "bytes")
		if len(g.Seeds) > 0 && rapid.IntRange(0, 3).Draw(t, "arbitrary") > 0 {
			data = damaged(t, rapid.SampledFrom(g.Seeds).Draw(t, "seed"))
		}
		g.Run(t, data)
	})
}

// damaged is seed with some bytes replaced, left out or put in.
func damaged(t *rapid.T, seed []byte) []byte {
	data := slices.Clone(seed)
	for range rapid.IntRange(0, 4).Draw(t, "changes") {
		at := rapid.IntRange(0, len(data)).Draw(t, "at")
		less := rapid.IntRange(0, min(12, len(data)-at)).Draw(t, "less")
		more := rapid.SliceOfN(rapid.Byte(), 0, 12).Draw(t, "more")
		data = slices.Replace(data, at, at+less, more...)
	}
	return data
}

// AtLength runs the targets in this process for as many executions as LAHJA_EXECS says that all
// targets of all packages get, and some seconds' worth without.
func AtLength(t *testing.T, targets ...Target) {
	total := 50_000
	if text := os.Getenv("LAHJA_EXECS"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil {
			t.Fatal(err)
		}
		total = n
	}
	for _, g := range targets {
		t.Run(g.Name, func(t *testing.T) { g.atLength(t, total/1000*g.Part) })
	}
}

// atLength divides the executions among all processors.
func (g Target) atLength(t *testing.T, executions int) {
	pool := slices.DeleteFunc(append(kept(g.Name), g.Seeds...), func(seed []byte) bool {
		return len(seed) > longest
	})
	seed, began := rand.Uint64(), time.Now()
	workers := runtime.GOMAXPROCS(0)
	var all sync.WaitGroup
	for w := range workers {
		all.Go(func() {
			m := mutator{rand: rand.New(rand.NewPCG(seed, uint64(w))), pool: pool}
			g.work(t, &m, executions/workers)
		})
	}
	all.Wait()
	took := time.Since(began)
	t.Logf("%s: %d executions in %.1f s, %.0f in a second, from %d inputs, with seed %d", g.Name,
		executions/workers*workers, took.Seconds(), float64(executions)/took.Seconds(), len(pool),
		seed)
}

// work writes what has broken the target where `go test` tries it again.
func (g Target) work(t *testing.T, m *mutator, executions int) {
	var data []byte
	finished := false
	defer func() {
		if finished {
			return
		}
		sum := fnv.New64()
		sum.Write(data)
		name := filepath.Join("testdata", "fuzz", g.Name, fmt.Sprintf("%016x", sum.Sum64()))
		err := os.MkdirAll(filepath.Dir(name), 0o755)
		if err == nil {
			err = os.WriteFile(name, fmt.Appendf(nil, "%s\n[]byte(%q)\n", version, data), 0o644)
		}
		fmt.Fprintf(os.Stderr, "%s breaks with %q, now in %s: %v\n", g.Name, data, name, err)
	}()
	for range executions {
		data = m.next()
		if g.Run(t, data); t.Failed() {
			break // by another worker
		}
	}
	finished = true
}

// version is the first line of a file with an input.
const version = "go test fuzz v1"

// kept are the inputs of a target that were found to be worth it: those in its testdata, and those
// that the go command keeps in its cache.
func kept(name string) (inputs [][]byte) {
	dirs := []string{filepath.Join("testdata", "fuzz", name)}
	cache := os.Getenv("GOCACHE")
	if user, err := os.UserCacheDir(); err == nil && cache == "" {
		cache = filepath.Join(user, "go-build")
	}
	if pkg, err := os.Getwd(); err == nil {
		module := filepath.Join(cache, "fuzz", "*", "*", "*", "internal")
		found, _ := filepath.Glob(filepath.Join(module, filepath.Base(pkg), name))
		dirs = append(dirs, found...)
	}
	for _, dir := range dirs {
		files, _ := filepath.Glob(filepath.Join(dir, "*"))
		for _, file := range files {
			if text, err := os.ReadFile(file); err == nil {
				inputs = append(inputs, parse(string(text))...)
			}
		}
	}
	return inputs
}

// parse reads a file with an input, of a target that takes bytes and nothing else.
func parse(text string) [][]byte {
	head, rest, _ := strings.Cut(strings.TrimSpace(text), "\n")
	rest, ok := strings.CutPrefix(rest, "[]byte(")
	input, err := strconv.Unquote(strings.TrimSuffix(rest, ")"))
	if head != version || !ok || err != nil {
		return nil
	}
	return [][]byte{[]byte(input)}
}
