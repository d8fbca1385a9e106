package main

import (
	"encoding/xml"
	"fmt"
	"regexp"
	"strings"

	"github.com/go-analyze/charts"
)

// Sizes of text, in points: 16 and 13 pixels.
const titleSize, labelSize = 12, 10

// shade is a colour on a light page and the one that takes its place on a dark page.
type shade struct{ light, dark [3]uint8 }

// The shades, each with a contrast to its background of at least 4.5 if it is text, else 3. A chart
// brings its background along, so that this holds where a page is dark and the browser is not.
var (
	paper = shade{[3]uint8{255, 255, 255}, [3]uint8{13, 17, 23}}
	ink   = shade{[3]uint8{89, 99, 110}, [3]uint8{145, 152, 161}}
	grid  = shade{[3]uint8{216, 222, 228}, [3]uint8{48, 54, 61}}
	grey  = shade{[3]uint8{140, 149, 159}, [3]uint8{110, 118, 129}}
	blue  = shade{[3]uint8{9, 105, 218}, [3]uint8{68, 147, 248}}
	amber = shade{[3]uint8{154, 103, 0}, [3]uint8{210, 153, 34}}
	green = shade{[3]uint8{26, 127, 55}, [3]uint8{63, 185, 80}}

	shades = []shade{paper, ink, grid, grey, blue, amber, green}
)

var theme = charts.MakeTheme(charts.ThemeOption{
	AxisStrokeColor: ink.color(), AxisSplitLineColor: grid.color(), BackgroundColor: paper.color(),
	TextColor: ink.color(), TextColorTitle: ink.color(), TextColorMark: ink.color(),
	TextColorLabel: ink.color(), TextColorLegend: ink.color(), TextColorXAxis: ink.color(),
	TextColorYAxis: ink.color(),
	SeriesColors:   []charts.Color{blue.color(), amber.color(), green.color()},
})

func (s shade) color() charts.Color { return charts.ColorRGB(s.light[0], s.light[1], s.light[2]) }

func rgb(c [3]uint8) string { return fmt.Sprintf("rgb(%d,%d,%d)", c[0], c[1], c[2]) }

// fonts that are about as wide as Roboto, by which the library has measured but which few have.
const fonts = "-apple-system,'Segoe UI',Roboto,Helvetica,Arial,sans-serif"

var (
	opening = regexp.MustCompile(`^<svg [^>]*>`)
	written = regexp.MustCompile(`<text x="(\d+)"([^>]*)>([^<]*)</text>`)
	family  = regexp.MustCompile(`font-family:[^;"]*`)
)

// labelGap is how far left of the axis its labels end, which are a tick and some space from it.
const labelGap = 10

// dressed gives a chart fonts that there are, the shades for dark pages, and, where a label stands
// left of an axis, an end there instead of a beginning elsewhere: a wider font does not reach it.
func dressed(svg string, labels []string) string {
	svg = strings.ReplaceAll(svg, ":white", ":"+rgb(paper.light))
	svg = family.ReplaceAllString(svg, "font-family:"+fonts)
	if x, ok := axis(svg); ok {
		left := map[string]bool{}
		for _, l := range labels {
			left[escaped(l)] = true
		}
		svg = written.ReplaceAllStringFunc(svg, func(text string) string {
			m := written.FindStringSubmatch(text)
			if !left[m[3]] {
				return text
			}
			return fmt.Sprintf(`<text x="%d" text-anchor="end"%s>%s</text>`, x-labelGap, m[2], m[3])
		})
	}
	return opening.ReplaceAllStringFunc(svg, func(tag string) string { return tag + dark() })
}

// axis is where the vertical axis stands: the first line that is drawn upright.
func axis(svg string) (x int, ok bool) {
	m := regexp.MustCompile(`<path d="M (\d+) (\d+)\s+L (\d+) (\d+)" style="stroke-width:1`).
		FindStringSubmatch(svg)
	if m == nil || m[1] != m[3] {
		return 0, false
	}
	_, err := fmt.Sscan(m[1], &x)
	return x, err == nil
}

func escaped(text string) string {
	var b strings.Builder
	xml.EscapeText(&b, []byte(text))
	return b.String()
}

// dark is the style that replaces each shade where pages are dark.
func dark() string {
	var b strings.Builder
	b.WriteString("<style>@media (prefers-color-scheme:dark){")
	for _, s := range shades {
		for _, what := range []string{"fill", "stroke"} {
			fmt.Fprintf(&b, `[style*="%s:%s"]{%s:%s!important}`, what, rgb(s.light), what,
				rgb(s.dark))
		}
	}
	b.WriteString("}</style>")
	return b.String()
}
