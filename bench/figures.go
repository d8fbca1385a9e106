package main

import (
	"fmt"
	"slices"
	"time"
)

// figures are what is told of several numbers.
type figures struct{ median, low, high float64 }

func figuresOf(values []float64) figures {
	failed := func(f float64) bool { return f <= 0 }
	v := slices.DeleteFunc(slices.Sorted(slices.Values(values)), failed)
	if len(v) == 0 {
		return figures{}
	}
	return figures{v[len(v)/2], v[0], v[len(v)-1]}
}

// none reports whether nothing was measured.
func (f figures) none() bool { return f.median == 0 }

// values are what a row has measured, round by round; 0: it has failed.
func (t *table) values(label string) (v []float64) {
	for _, r := range t.results[label] {
		v = append(v, r.Value)
	}
	return v
}

// spent is the processor time of a row, in all processes, round by round; 0: it is not known.
func (t *table) spent(label string) (v []float64) {
	for _, r := range t.results[label] {
		v = append(v, r.Extra["cpu"])
	}
	return v
}

// ratio compares times round by round, or rates, which are the other way round.
func ratio(a, b []float64, rate bool) figures {
	var ratios []float64
	for i := range min(len(a), len(b)) {
		switch {
		case a[i] <= 0 || b[i] <= 0: // one of them has failed
		case rate:
			ratios = append(ratios, b[i]/a[i])
		default:
			ratios = append(ratios, a[i]/b[i])
		}
	}
	return figuresOf(ratios)
}

// amount writes a value in the unit of t.
func (t *table) amount(v float64) string {
	if t.Unit == inBytes {
		return fmt.Sprintf("%.1f KiB", v/1024)
	}
	if v == 0 {
		return "failed"
	}
	return duration(v)
}

// duration writes a time; none: it is not known.
func (f figures) duration() string {
	if f.none() {
		return ""
	}
	return duration(f.median)
}

func duration(v float64) string {
	switch d := time.Duration(v); {
	case d < time.Microsecond:
		return fmt.Sprintf("%.0f ns", v)
	case d < 100*time.Microsecond:
		return fmt.Sprintf("%.2f µs", v/1e3)
	case d < time.Millisecond:
		return fmt.Sprintf("%.0f µs", v/1e3)
	}
	return fmt.Sprintf("%.2f ms", v/1e6)
}

// number writes a ratio.
func number(f float64) string {
	switch {
	case f == 0:
		return "0"
	case f < 0.1:
		return fmt.Sprintf("%.3f", f)
	case f < 10:
		return fmt.Sprintf("%.2f", f)
	}
	return fmt.Sprintf("%.0f", f)
}

func (f figures) String() string {
	if f.none() {
		return "failed"
	}
	return number(f.median)
}

func (f figures) spread() string { return number(f.low) + " to " + number(f.high) }
