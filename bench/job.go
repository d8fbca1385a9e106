package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime/pprof"
	"slices"
	"sync"
	"time"
)

// job is one measurement. What its fields mean is up to its kind.
type job struct {
	Kind     string // what is done: see kinds
	System   string // by whom
	Size     int    // bytes of each payload
	Count    int    // subscribers, children or endpoints
	AtOnce   int    // requests
	Events   int    // a fixed number of them; 0: as many as Target allows
	Throttle time.Duration
	Metric   string        // which of several figures
	Target   time.Duration // how long it is to last
	Profile  string        // file for a CPU profile of the parent; empty: none

	spent func() (time.Duration, error) // processor time of all processes; nil: of this one
}

// result is what a job has measured.
type result struct {
	Value float64 // what is compared, in nanoseconds or bytes
	Ops   int
	Extra map[string]float64 `json:",omitempty"`
}

// kinds are the kinds of work.
var kinds = map[string]func(*job) (*result, error){
	"local":   runLocal,
	"oneway":  runOneWay,
	"relay":   runRelay,
	"request": runRequest,
	"crowd":   runCrowd,
	"far":     runFarCrowd,
	"subs":    runSubscriptions,
	"own":     runOwn,
}

// work is a process that does one job.
func work(text string) error {
	j, err := parse[job](text)
	if err != nil {
		return err
	}
	do := kinds[j.Kind]
	if do == nil {
		return fmt.Errorf("there is no kind of work %q", j.Kind)
	}
	r, err := do(&j)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(r)
}

// profiled runs f, under the profiler if the job says so.
func (j *job) profiled(f func() error) error {
	if j.Profile == "" {
		return f()
	}
	file, err := os.Create(j.Profile)
	if err != nil {
		return err
	}
	if err := pprof.StartCPUProfile(file); err != nil {
		return err
	}
	err = f()
	pprof.StopCPUProfile()
	return errors.Join(err, file.Close())
}

// maxBytes is how much is sent at most in one go: some systems keep all of it in memory.
const maxBytes = 256 << 20

// lasting finds out how many operations take about as long as the job is to last, which also warms
// up, and then measures so many.
func (j *job) lasting(most int, run func(n int) (time.Duration, error)) (*result, error) {
	if j.Size > 0 {
		most = min(most, max(1, maxBytes/(j.Size*max(1, j.Count))))
	}
	n := min(16, most)
	for j.Events == 0 {
		took, err := run(n)
		if err != nil {
			return nil, err
		}
		if took > j.Target/4 || n == most {
			n = min(most, max(1, int(float64(n)*float64(j.Target)/float64(took))))
			break
		}
		n = min(most, 4*n)
	}
	if j.Events > 0 {
		n = j.Events
	}
	if j.spent == nil {
		j.spent = func() (time.Duration, error) { return processorTime(), nil }
	}
	before, err := j.spent()
	if err != nil {
		return nil, err
	}
	var took time.Duration
	err = j.profiled(func() (err error) {
		took, err = run(n)
		return err
	})
	if err != nil {
		return nil, err
	}
	after, err := j.spent()
	ops := float64(n)
	return &result{
		Value: float64(took) / ops, Ops: n,
		Extra: map[string]float64{"cpu": float64(after-before) / ops},
	}, err
}

// together runs f as often as the job says at once, n times in all, and returns how long each took.
func (j *job) together(n int, f func(i int) error) ([]time.Duration, error) {
	times := make([]time.Duration, n)
	failed := make([]error, j.AtOnce)
	var all sync.WaitGroup
	for w := range j.AtOnce {
		all.Go(func() {
			for i := w; i < n && failed[w] == nil; i += j.AtOnce {
				start := time.Now()
				failed[w] = f(i)
				times[i] = time.Since(start)
			}
		})
	}
	all.Wait()
	slices.Sort(times)
	return times, errors.Join(failed...)
}
