package main

import (
	"encoding/json"
	"encoding/xml"
	"io"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// drawn returns the charts of results that are made up, by the names of their files.
func drawn(t *testing.T) map[string]string {
	t.Helper()
	raw := map[string]map[string][]float64{}
	for _, c := range cases(false) {
		raw[c.Name] = map[string][]float64{}
		for i, r := range c.Rows {
			raw[c.Name][r.Label] = []float64{float64(10 + 10*i)}
		}
	}
	text, err := json.Marshal(raw)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	results := filepath.Join(dir, "results.json")
	if err := os.WriteFile(results, text, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := drawAgain(results, dir); err != nil {
		t.Fatal(err)
	}
	files, _ := filepath.Glob(filepath.Join(dir, "*.svg"))
	svgs := map[string]string{}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		svgs[filepath.Base(f)] = string(text)
	}
	return svgs
}

// words are the texts of a chart. It fails if the chart is no XML.
func words(t *testing.T, name, svg string) (all []string) {
	t.Helper()
	d := xml.NewDecoder(strings.NewReader(svg))
	inText := false
	for {
		token, err := d.Token()
		if err == io.EOF {
			return all
		}
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		switch v := token.(type) {
		case xml.StartElement:
			inText = v.Name.Local == "text"
		case xml.EndElement:
			inText = false
		case xml.CharData:
			if inText {
				all = append(all, string(v))
			}
		}
	}
}

// A chart has each row that is compared with what its title names, and says how fast it is. In the
// bars, lahja is the only one in its colour.
func TestBars(t *testing.T) {
	svgs := drawn(t)
	named := map[string]*benchCase{}
	for _, c := range cases(false) {
		named[c.Name] = c
	}
	for _, c := range barCharts {
		svg := svgs[c.file]
		text := "\n" + strings.Join(words(t, c.file, svg), "\n") + "\n"
		ours := 0
		for _, r := range named[c.name].Rows {
			compared := r.Base != "" && !strings.HasSuffix(r.Base, andChannel)
			if strings.Contains(text, "\n"+r.Label+"\n") != compared {
				t.Errorf("%s: with %q: %t", c.file, r.Label, !compared)
			}
			if compared && strings.HasPrefix(r.Label, "lahja") {
				ours++
			}
		}
		if n := strings.Count(svg, "fill:"+rgb(blue.light)+`"`); n < ours {
			t.Errorf("%s: %d bars of lahja, %d in its colour", c.file, ours, n)
		}
	}
}

// The labels left of the axis end before it, whatever the font.
func TestLabelsEndBeforeTheAxis(t *testing.T) {
	svgs := drawn(t)
	for _, c := range barCharts {
		svg := svgs[c.file]
		x, ok := axis(svg)
		if !ok {
			t.Fatalf("%s: it has no axis", c.file)
		}
		for _, m := range regexp.MustCompile(`<text x="\d+"( text-anchor="end")?[^>]*>([^<]*)<`).
			FindAllStringSubmatch(svg, -1) {
			if strings.HasPrefix(m[2], "lahja") && m[1] == "" {
				t.Errorf("%s: %q begins somewhere, and ends where the font lets it (axis at %d)",
					c.file, m[2], x)
			}
		}
	}
}

// The chart of growth has a mark for each number of endpoints.
func TestGrowthChart(t *testing.T) {
	text := "\n" + strings.Join(words(t, "growth.svg", drawn(t)["growth.svg"]), "\n") + "\n"
	for _, mark := range []string{"10", "100", "1,000", "10,000", "1", "2", "4"} {
		if !strings.Contains(text, "\n"+mark+"\n") {
			t.Errorf("%q is not there", mark)
		}
	}
}

// Every colour of a chart has another where pages are dark, and no font is one that few have.
func TestChartsOfDarkPages(t *testing.T) {
	known := map[string]bool{}
	for _, s := range shades {
		known[rgb(s.light)] = true
	}
	for name, svg := range drawn(t) {
		_, body, found := strings.Cut(svg, "</style>")
		if !found || !strings.Contains(svg, "prefers-color-scheme:dark") {
			t.Fatalf("%s: no style", name)
		}
		colour := regexp.MustCompile(`(?:fill|stroke):([^;"]+)`)
		for _, m := range colour.FindAllStringSubmatch(body, -1) {
			if m[1] != "none" && !known[m[1]] {
				t.Errorf("%s: the colour %s is the same on a dark page", name, m[1])
			}
		}
		if strings.Contains(body, "Roboto Medium") {
			t.Errorf("%s: it asks for Roboto Medium", name)
		}
	}
}

// contrast is that of WCAG 2.
func contrast(a, b [3]uint8) float64 {
	luminance := func(c [3]uint8) (l float64) {
		for i, share := range []float64{0.2126, 0.7152, 0.0722} {
			v := float64(c[i]) / 255
			if v <= 0.04045 {
				l += share * v / 12.92
			} else {
				l += share * math.Pow((v+0.055)/1.055, 2.4)
			}
		}
		return l
	}
	la, lb := luminance(a)+0.05, luminance(b)+0.05
	return max(la, lb) / min(la, lb)
}

// The shades can be told from their background: text by 4.5, the rest by 3.
func TestContrast(t *testing.T) {
	for _, s := range []shade{ink, grey, blue, amber, green} {
		least := 3.0
		if s == ink {
			least = 4.5
		}
		for _, c := range [][2][3]uint8{{s.light, paper.light}, {s.dark, paper.dark}} {
			if got := contrast(c[0], c[1]); got < least {
				t.Errorf("%s on %s: %.2f", rgb(c[0]), rgb(c[1]), got)
			}
		}
	}
}
