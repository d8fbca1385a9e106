package main

import (
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"time"
)

// publish writes the table.
func publish(w io.Writer, dir string, tables []*table, s settings) error {
	return writeTable(w, tables)
}

// writeTable writes the one table of all that was measured.
func writeTable(w io.Writer, tables []*table) error {
	var b strings.Builder
	b.WriteString("| work | system | median | against | ratio | lowest to highest |\n")
	b.WriteString("| --- | --- | ---: | --- | ---: | ---: |\n")
	for _, t := range tables {
		for _, r := range t.Rows {
			v := figuresOf(t.values(r.Label))
			fmt.Fprintf(&b, "| %s | %s | %s", t.Title, r.Label, t.amount(v.median))
			if r.Base == "" {
				b.WriteString(" | | | |\n")
				continue
			}
			f := t.ratio(r.Label, r.Base)
			fmt.Fprintf(&b, " | %s | %s | %s to %s |\n",
				r.Base, number(f.median), number(f.low), number(f.high))
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// amount writes a value of t: a time for each of its units.
func (t *table) amount(v float64) string {
	d := time.Duration(v)
	switch {
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
	case f < 0.1:
		return fmt.Sprintf("%.3f", f)
	case f < 10:
		return fmt.Sprintf("%.2f", f)
	}
	return fmt.Sprintf("%.0f", f)
}

// profileName is the file for a profile of a row.
func profileName(dir, name, label string) string {
	clean := strings.NewReplacer("/", "-", " ", "-")
	return filepath.Join(dir, clean.Replace(name+"-"+label)+".pprof")
}
