package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"time"
)

// settings say how much is measured.
type settings struct {
	rounds  int
	target  time.Duration
	small   bool
	profile string // the directory for profiles; empty: none
}

// table is what was measured in a case: of each row, one result a round.
type table struct {
	*benchCase
	results map[string][]*result
}

// tooLong is when a measurement is given up.
const tooLong = 2 * time.Minute

// measure does all rounds of all cases. In each round each row is measured once, those of a case
// next to each other and in random order.
func (s *settings) measure(all []*benchCase) ([]*table, error) {
	tables := make([]*table, len(all))
	for i, c := range all {
		tables[i] = &table{c, map[string][]*result{}}
	}
	for round := range s.rounds {
		for _, t := range tables {
			start := time.Now()
			for _, i := range rand.Perm(len(t.Rows)) {
				r := &t.Rows[i]
				res, err := s.once(t.Name, r)
				if err != nil {
					return nil, fmt.Errorf("%s: %s: %w", t.Name, r.Label, err)
				}
				t.results[r.Label] = append(t.results[r.Label], res)
			}
			fmt.Fprintf(os.Stderr, "round %d of %d: %-16s %.1fs\n",
				round+1, s.rounds, t.Name, time.Since(start).Seconds())
		}
	}
	return tables, nil
}

// once makes one measurement, in a process of its own.
func (s *settings) once(name string, r *row) (*result, error) {
	j := r.Job
	j.Target = s.target
	if s.profile != "" {
		j.Profile = profileName(s.profile, name, r.Label)
	}
	text, err := json.Marshal(j)
	if err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), tooLong)
	defer cancel()
	cmd := exec.CommandContext(ctx, self, "work", string(text))
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, os.Stderr
	if err := cmd.Run(); err != nil {
		return nil, err
	}
	res, err := parse[result](out.String())
	return &res, err
}

// figures are what is told of several numbers.
type figures struct{ median, low, high float64 }

func figuresOf(values []float64) figures {
	v := slices.Sorted(slices.Values(values))
	return figures{v[len(v)/2], v[0], v[len(v)-1]}
}

func (t *table) values(label string) (v []float64) {
	for _, r := range t.results[label] {
		v = append(v, r.Value)
	}
	return v
}

// ratio compares a row with another, round by round.
func (t *table) ratio(label, base string) figures {
	return ratio(t.values(label), t.values(base), t.Rate)
}

// ratio divides times, or rates, which are the other way round.
func ratio(a, b []float64, rate bool) figures {
	ratios := make([]float64, min(len(a), len(b)))
	for i := range ratios {
		ratios[i] = a[i] / b[i]
		if rate {
			ratios[i] = b[i] / a[i]
		}
	}
	return figuresOf(ratios)
}
