package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
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
	measured := map[string]*table{}
	for i, c := range all {
		tables[i] = &table{c, map[string][]*result{}}
		measured[c.Name] = tables[i]
	}
	for round := range s.rounds {
		for _, t := range tables {
			if t.from != "" {
				t.derive(measured[t.from])
				continue
			}
			start := time.Now()
			if err := s.round(t); err != nil {
				return nil, err
			}
			fmt.Fprintf(os.Stderr, "round %d of %d: %-20s %.1fs\n",
				round+1, s.rounds, t.Name, time.Since(start).Seconds())
		}
	}
	return tables, nil
}

// round measures each row of t. What fails is told, and if it only has to work, fails all.
func (s *settings) round(t *table) error {
	for _, i := range rand.Perm(len(t.Rows)) {
		r := &t.Rows[i]
		res, err := s.once(t.Name, r)
		if err != nil {
			err = fmt.Errorf("%s: %s: %w", t.Name, r.Label, err)
			if s.small {
				return err
			}
			fmt.Fprintln(os.Stderr, "bench:", err)
			res = &result{} // has no value
		}
		t.results[r.Label] = append(t.results[r.Label], res)
	}
	return nil
}

// derive takes another figure of what was measured in the last round.
func (t *table) derive(measured *table) {
	if measured == nil {
		return // it was not chosen
	}
	for label, results := range measured.results {
		value := results[len(results)-1].Extra[t.figure]
		t.results[label] = append(t.results[label], &result{Value: value})
	}
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
