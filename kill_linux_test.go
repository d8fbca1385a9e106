package lahja_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/lahja-go/lahja"
	"github.com/lahja-go/lahja/transports/pipe"
)

// What a killed process may cost the others: window is the time in which its session might be
// resumed, where it can be, and prompt what is allowed besides.
const (
	window = 150 * time.Millisecond
	prompt = 100 * time.Millisecond
)

// killing is processes that are killed at random moments, and what others see of it.
type killing struct {
	*stage
	random     *rand.Rand
	observers  []*lahja.Endpoint
	gone       []time.Duration // from a kill until an observer has seen the endpoint go
	failed     []time.Duration // and until a request to it has failed
	answered   int             // requests that were answered before
	unattached int             // processes that were killed before they were attached
}

// Processes that are killed at random moments: the others see them gone, what was asked of them
// fails with an error that says so, both in time; nothing is left of them, and nobody else loses
// anything.
func TestKilledProcesses(t *testing.T) {
	for _, v := range venues[2:] {
		t.Run(v.name, func(t *testing.T) {
			captureLog(t)
			rounds, within := 8, prompt
			if scale() > 1 {
				rounds = 1000
			}
			if v.name == "tcp" {
				within += window
			}
			s := newStage(t, &v, [2]bool{true, true}, lahja.Limits{Resume: window})
			k := &killing{stage: s, random: rand.New(rand.NewPCG(1, uint64(rounds)))}
			beside := k.rounds(rounds)
			noChildren(t)
			t.Logf("%d killed, %d more as they started, %d of those before they were attached; "+
				"%d requests answered before, and beside all that %d events as they should",
				rounds, rounds/3, k.unattached, k.answered, beside)
			k.report("seen gone", k.gone, within)
			k.report("requests failed", k.failed, within)
		})
	}
}

// rounds kills so many processes, and a third as many that start, while others talk, and returns
// how much these did.
func (k *killing) rounds(rounds int) (beside int) {
	main, left, right := k.own("main"), k.connect("left"), k.connect("right")
	k.observers = []*lahja.Endpoint{main, left}
	// Here goes what victims broadcast.
	unread := lahja.Stream[load](k.ctx, main, lahja.DropOldest())
	k.group.Go(func() {
		for range unread {
		}
	})
	bystander := k.start("echo", "bystander")
	k.until(left, lahja.SubscribedBy[item]("bystander"))
	streams := []func() int{k.between(left, right), k.echoed(left, "bystander")}
	k.kill() // once, so that all that is made once is there
	before := holdings()
	k.gone, k.failed = nil, nil
	for n := range rounds {
		k.kill()
		if n%3 == 2 {
			k.killEarly()
		}
	}
	before.nothingMore(k, 5*time.Second)
	for _, finish := range streams {
		beside += finish()
	}
	bystander.crash(k.stage)
	return beside
}

// kill kills a process that is asked things, and broadcasts, at a random moment.
func (k *killing) kill() {
	p := k.start("victim", "victim")
	k.until(k.observers[0], lahja.SubscribedBy[question]("victim"))
	var watching sync.WaitGroup
	var mu sync.Mutex
	var gone, ended []time.Time
	for i := range k.observers {
		watching.Go(func() {
			k.until(k.observers[i], not(lahja.Present("victim")))
			mu.Lock()
			defer mu.Unlock()
			gone = append(gone, time.Now())
		})
	}
	for n := range 16 {
		watching.Go(func() {
			got, err := lahja.Request[question, answer](k.ctx, k.observers[n%2], question{n},
				lahja.To("victim"))
			mu.Lock()
			defer mu.Unlock()
			if err == nil && got.N == 2*n && n%4 == 0 {
				k.answered++
				return
			}
			if ended = append(ended, time.Now()); !isGone(err) {
				k.Errorf("question %d ends with %+v, %v", n, got, err)
			}
		})
	}
	time.Sleep(time.Duration(k.random.Int64N(int64(5 * time.Millisecond)))) // the random moment
	at := time.Now()
	p.kill()
	watching.Wait()
	takeEnd(k.stage, p.exited)
	k.gone = since(k.gone, at, gone)
	k.failed = since(k.failed, at, ended)
}

// killEarly kills a process at a random moment between its start and when it is attached, for the
// most part.
func (k *killing) killEarly() {
	moment := time.Duration(k.random.Int64N(int64(40 * time.Millisecond)))
	p := k.command("victim", "victim", k.venue.name+" "+k.address)
	if k.venue.name == "pipe" {
		ctx, cancel := context.WithTimeout(k.ctx, moment)
		defer cancel()
		child, err := pipe.Spawn(ctx, k.bus, p.cmd, pipe.As("victim"))
		if err == nil {
			p.kill()
			<-child.Done()
		}
	} else {
		k.must(p.cmd.Start())
		time.Sleep(moment)
		p.kill()
		_ = p.cmd.Wait()
	}
	if peers, err := k.observers[0].Peers(k.ctx); err != nil || !lahja.Present("victim")(peers) {
		k.unattached++
	}
	k.until(k.observers[1], not(lahja.Present("victim")))
}

func since(list []time.Duration, start time.Time, ends []time.Time) []time.Duration {
	for _, end := range ends {
		list = append(list, end.Sub(start))
	}
	return list
}

// report prints times, and checks that 99 of 100 are short enough. A few say more of what else the
// machine does than of the package: only the half of them is checked, and with a second more.
func (k *killing) report(what string, times []time.Duration, within time.Duration) {
	k.Helper()
	checked := 0.99
	if len(times) < 1000 {
		checked, within = 0.5, within+time.Second
	}
	k.Logf("%s: %d, after %v (median), %v (p99), %v (at most)", what, len(times),
		quantile(times, 0.5), quantile(times, 0.99), quantile(times, 1))
	if late := quantile(times, checked); len(times) == 0 || late > within {
		k.Errorf("%s: after %v, where %v are allowed", what, late, within)
	}
}

// holding is what a process has of what the system gives.
type holding struct {
	files      map[string]int // what its descriptors lead to; sockets and pipes each to their own
	goroutines int
}

func holdings() holding {
	h := holding{map[string]int{}, runtime.NumGoroutine()}
	const list = "/proc/self/fd/"
	entries, err := os.ReadDir(list)
	if err != nil {
		panic(err)
	}
	for _, e := range entries {
		if target, err := os.Readlink(list + e.Name()); err == nil { // it is not that of ReadDir
			h.files[target]++
		}
	}
	return h
}

// more says what h has that was not there before.
func (h holding) more(before holding) (list []string) {
	for file, n := range h.files {
		if n > before.files[file] {
			list = append(list, file)
		}
	}
	if h.goroutines > before.goroutines {
		list = append(list, fmt.Sprintf("%d goroutines", h.goroutines-before.goroutines))
	}
	return list
}

// nothingMore checks that there is nothing that was not there before. A connection by TCP keeps its
// descriptor for a second after it was closed, and goroutines take a moment to end.
func (h holding) nothingMore(t testing.TB, patience time.Duration) {
	t.Helper()
	for end := time.Now().Add(patience); ; runtime.Gosched() {
		more := holdings().more(h)
		if len(more) == 0 {
			return
		}
		if time.Now().After(end) {
			t.Errorf("what was not there before: %v", more)
			return
		}
	}
}

// noChildren checks that this process has no child, and nothing is left of one.
func noChildren(t testing.TB) {
	t.Helper()
	pid, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil)
	if err != syscall.ECHILD {
		t.Errorf("there still is a child process, %d: %v", pid, err)
	}
}

// failing is a test that is to fail, and says whether it has.
type failing struct {
	testing.TB
	text string
}

func (f *failing) Errorf(format string, args ...any) { f.text += fmt.Sprintf(format, args...) }
func (f *failing) Helper()                           {}

// What looks for things that are left finds them.
func TestLeftovers(t *testing.T) {
	before := holdings()
	file, err := os.Open("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	found := &failing{TB: t}
	if before.nothingMore(found, 10*time.Millisecond); found.text == "" {
		t.Error("an open file is not found")
	}
	file.Close()
	end := make(chan struct{})
	for range 20 { // more than what is left of other tests, and about to end
		go func() { <-end }()
	}
	found = &failing{TB: t}
	if before.nothingMore(found, 10*time.Millisecond); found.text == "" {
		t.Error("goroutines are not found")
	}
	close(end)
	before.nothingMore(t, 5*time.Second)
	noChildren(t)
	cmd := exec.Command(os.Args[0], "-test.run=^TestParityProcess$")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	found = &failing{TB: t}
	if noChildren(found); found.text == "" {
		t.Error("a process that runs is not found")
	}
	_ = cmd.Wait() // fails if it was a zombie, and is no more
	noChildren(t)
}
