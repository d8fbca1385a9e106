package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
)

// publish writes the table to w or, with a directory, the table and the charts there.
func publish(w io.Writer, dir string, tables []*table, s settings) error {
	text := report(tables, s)
	if dir == "" {
		_, err := io.WriteString(w, text)
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "table.md"), []byte(text), 0o644); err != nil {
		return err
	}
	raw, err := json.MarshalIndent(rawOf(tables), "", "\t")
	if err != nil {
		return err
	}
	err = os.WriteFile(filepath.Join(dir, "results.json"), append(raw, '\n'), 0o644)
	if err != nil {
		return err
	}
	return writeCharts(dir, tables)
}

// rawOf is what each row has measured, round by round.
func rawOf(tables []*table) map[string]map[string][]float64 {
	raw := map[string]map[string][]float64{}
	for _, t := range tables {
		raw[t.Name] = map[string][]float64{}
		for _, r := range t.Rows {
			raw[t.Name][r.Label] = t.values(r.Label)
		}
	}
	return raw
}

// tablesOf is the opposite of rawOf, for the cases that there are.
func tablesOf(raw map[string]map[string][]float64) (tables []*table) {
	for _, c := range cases(false) {
		t := &table{c, map[string][]*result{}}
		for label, values := range raw[c.Name] {
			for _, v := range values {
				t.results[label] = append(t.results[label], &result{Value: v})
			}
		}
		if len(t.results) > 0 {
			tables = append(tables, t)
		}
	}
	return tables
}

// drawAgain draws the charts of what was measured before.
func drawAgain(results, dir string) error {
	if dir == "" {
		return errors.New("-redraw needs -out, the directory for the charts")
	}
	text, err := os.ReadFile(results)
	if err != nil {
		return err
	}
	raw, err := parse[map[string]map[string][]float64](string(text))
	if err != nil {
		return fmt.Errorf("%s: %w", results, err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	return writeCharts(dir, tablesOf(raw))
}

// report is all that was measured, as text.
func report(tables []*table, s settings) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# What was measured\n\nWritten by `make bench`. %s, %s/%s, %d processors%s; "+
		"%d rounds, each measurement %v.\n\n", runtime.Version(), runtime.GOOS, runtime.GOARCH,
		runtime.NumCPU(), processor(), s.rounds, s.target)
	b.WriteString("Of each row the median of all rounds is given, for each event, request or the " +
		"like, and the ratio to another row of the same rounds: of rates where more is better, " +
		"otherwise of times. CPU is the processor time of all processes together, which other " +
		"load on the machine changes least. Only the ratios mean something elsewhere than on " +
		"this machine.\n\n")
	writeGoals(&b, tables)
	b.WriteString("\n## All rows\n\n" +
		"| work | system | median | CPU | ratio of | to | ratio | spread | CPU ratio |\n" +
		"| --- | --- | ---: | ---: | --- | --- | ---: | --- | ---: |\n")
	for _, t := range tables {
		t.write(&b)
	}
	return b.String()
}

func (t *table) write(b *strings.Builder) {
	of := "times"
	switch {
	case t.Unit == inBytes:
		of = "bytes"
	case t.Rate:
		of = "rates"
	}
	for _, r := range t.Rows {
		v := figuresOf(t.values(r.Label))
		cpu := figuresOf(t.spent(r.Label))
		fmt.Fprintf(b, "| %s | %s | %s | %s |", t.Title, r.Label, t.amount(v.median),
			cpu.duration())
		if r.Base == "" {
			b.WriteString(" | | | | |\n")
			continue
		}
		f := ratio(t.values(r.Label), t.values(r.Base), t.Rate)
		fmt.Fprintf(b, " %s | %s | %v | %s |", of, r.Base, f, f.spread())
		if f = ratio(t.spent(r.Label), t.spent(r.Base), false); !f.none() {
			fmt.Fprintf(b, " %v", f)
		}
		b.WriteString(" |\n")
	}
}

func writeGoals(b *strings.Builder, tables []*table) {
	named := map[string]*table{}
	for _, t := range tables {
		named[t.Name] = t
	}
	b.WriteString("## Goals\n\n| work | goal | measured | spread | reached |\n" +
		"| --- | --- | ---: | --- | --- |\n")
	for _, g := range goals() {
		f, ok, known := g.reached(named)
		if !known {
			continue
		}
		measured, spread, limit := f.String(), f.spread(), g.text()
		if g.figure {
			kib := func(v float64) string { return fmt.Sprintf("%.1f KiB", v/1024) }
			measured, limit = kib(f.median), "at most "+kib(g.limit)
			spread = kib(f.low) + " to " + kib(f.high)
		}
		fmt.Fprintf(b, "| %s | %s | %s | %s | %s |\n", g.what, limit, measured, spread,
			map[bool]string{true: "yes", false: "no"}[ok])
	}
}

// processor names the processor, where the system tells.
func processor() string {
	text, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(text)) {
		if name, value, _ := strings.Cut(line, ":"); strings.TrimSpace(name) == "model name" {
			return ", " + strings.TrimSpace(value)
		}
	}
	return ""
}

// profileName is the file for a profile of a row.
func profileName(dir, name, label string) string {
	clean := strings.NewReplacer("/", "-", " ", "-")
	return filepath.Join(dir, clean.Replace(name+"-"+label)+".pprof")
}
