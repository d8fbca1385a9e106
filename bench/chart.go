package main

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/go-analyze/charts"
)

// bars is a chart of the rows of a case, as shares of the speed of what they are compared with.
type bars struct {
	file, name, title string
}

// barCharts are the charts of bars.
var barCharts = []bars{
	{"local-1.svg", "local/1", "in one process, 1 to 1: share of the speed of a bare channel"},
	{"local-10.svg", "local/10",
		"in one process, 1 to 10: share of the speed of ten bare channels"},
	{"oneway.svg", "oneway/64",
		"parent to child, 64 bytes: share of the speed of the bare conduit"},
	{"relay.svg", "relay/64",
		"child to child, 64 bytes: share of the speed of the bare conduit"},
	{"request-1.svg", "request/1",
		"requests one at a time: share of the speed of a bare echo"},
	{"request-64.svg", "request/64", "64 requests at once: share of the speed of a bare echo"},
	{"fan-10.svg", "fan/10", "1 to 10 processes: share of the speed of ten bare conduits"},
}

// writeCharts writes a chart of each case that was measured.
func writeCharts(dir string, tables []*table) error {
	for _, c := range barCharts {
		i := slices.IndexFunc(tables, func(t *table) bool { return t.Name == c.name })
		if i < 0 {
			continue
		}
		if err := c.write(dir, tables[i]); err != nil {
			return fmt.Errorf("%s: %w", c.file, err)
		}
	}
	return writeGrowth(dir, tables)
}

// bar is one row: its share of the speed of what the title names.
type bar struct {
	label string
	share float64
}

// barsOf are the rows that are compared with what the title names, the slowest first. Those that
// are compared with something slower would seem the fastest.
func barsOf(t *table) (all []bar) {
	for _, r := range t.Rows {
		if r.Base == "" || strings.HasSuffix(r.Base, andChannel) {
			continue
		}
		if f := ratio(t.values(r.Label), t.values(r.Base), true); !f.none() {
			all = append(all, bar{r.Label, f.median})
		}
	}
	slices.SortStableFunc(all, func(a, b bar) int {
		return int(1e6*a.share) - int(1e6*b.share)
	})
	return all
}

// write draws the rows, the fastest at the top: lahja's in a colour, the others grey. A colour is
// that of a series, so there are two in a stack, each nothing where the other has its bars.
func (c *bars) write(dir string, t *table) error {
	all := barsOf(t)
	labels := make([]string, len(all))
	ours, others := make([]float64, len(all)), make([]float64, len(all))
	for i, b := range all {
		labels[i] = b.label
		if strings.HasPrefix(b.label, "lahja") {
			ours[i] = b.share
		} else {
			others[i] = b.share
		}
	}
	opt := charts.NewBarChartOptionWithData([][]float64{ours, others})
	opt.Horizontal, opt.StackSeries = true, charts.Ptr(true)
	opt.Theme = theme.WithSeriesColors([]charts.Color{blue.color(), grey.color()})
	opt.Title = charts.TitleOption{Text: c.title, FontStyle: charts.FontStyle{FontSize: titleSize}}
	opt.CategoryAxis.Labels = labels
	opt.CategoryAxis.LabelFontStyle.FontSize = labelSize
	opt.ValueAxis = []charts.ValueAxisOption{{Show: charts.Ptr(false)}} // each bar says what it is
	opt.Legend.Show = charts.Ptr(false)
	for i := range opt.SeriesList {
		opt.SeriesList[i].Label = charts.SeriesLabel{
			Show: charts.Ptr(true), ValueFormatter: numberOfBar,
			FontStyle: charts.FontStyle{FontSize: labelSize, FontColor: ink.color()},
		}
	}
	p := painter(90 + 26*len(all))
	if err := p.BarChart(opt); err != nil {
		return err
	}
	return save(p, filepath.Join(dir, c.file), labels)
}

// numberOfBar writes what stands beside a bar, if there is one.
func numberOfBar(f float64) string {
	if f == 0 {
		return ""
	}
	return number(f)
}

// lines of a chart of how costs grow.
var growths = []struct{ name, label string }{
	{"growth/endpoints", "broadcast in one process"},
	{"growth/far-endpoints", "broadcast to another"},
	{"growth/far-endpoints/attach", "attaching in another"},
}

// room follows a name in a legend, for fonts that are wider than what the library measures by.
const room = "\u00a0\u00a0\u00a0\u00a0\u00a0\u00a0"

// writeGrowth draws how the cost for each endpoint changes with their number. Both axes are
// logarithmic: one line up is twice the cost.
func writeGrowth(dir string, tables []*table) error {
	var data [][]float64
	var names, labels []string
	low, high := 0.0, 1.0
	for _, g := range growths {
		i := slices.IndexFunc(tables, func(t *table) bool { return t.Name == g.name })
		if i < 0 {
			continue
		}
		var line []float64
		line, labels = doublings(tables[i])
		for _, v := range line {
			if v != charts.GetNullValue() {
				low, high = min(low, math.Floor(v)), max(high, math.Ceil(v))
			}
		}
		data, names = append(data, line), append(names, g.label+room)
	}
	if len(data) == 0 {
		return nil
	}
	font := charts.FontStyle{FontSize: labelSize}
	opt := charts.NewLineChartOptionWithData(data)
	opt.Theme = theme
	opt.Title = charts.TitleOption{
		Text:      "cost for each endpoint by their number, against that of " + labels[0],
		FontStyle: charts.FontStyle{FontSize: titleSize}}
	opt.XAxis.Labels, opt.XAxis.LabelFontStyle = labels, font
	opt.XAxis.LabelCount = len(labels)
	opt.Legend = charts.LegendOption{SeriesNames: names, FontStyle: font,
		Offset: charts.OffsetStr{Left: "20", Top: "40"}}
	opt.YAxis = []charts.YAxisOption{{
		Min: charts.Ptr(low), Max: charts.Ptr(high), LabelCount: int(high-low) + 1,
		PreferNiceIntervals: charts.Ptr(false), LabelFontStyle: font,
		RangeValuePaddingScale: charts.Ptr(0.0),
		ValueFormatter: func(v float64) string {
			return strconv.FormatFloat(math.Exp2(v), 'g', 3, 64)
		},
	}}
	p := painter(400)
	if err := p.LineChart(opt); err != nil {
		return err
	}
	return save(p, filepath.Join(dir, "growth.svg"), nil)
}

// doublings returns how often the cost has doubled in each row of t since the first, with the count
// that each stands for.
func doublings(t *table) (line []float64, counts []string) {
	for _, r := range t.Rows {
		count, _, _ := strings.Cut(r.Label, " ")
		counts = append(counts, count)
		v := charts.GetNullValue()
		if f := ratio(t.values(r.Label), t.values(t.Rows[0].Label), false); !f.none() {
			v = math.Log2(f.median)
		}
		line = append(line, v)
	}
	return line, counts
}

func painter(height int) *charts.Painter {
	return charts.NewPainter(charts.PainterOptions{
		OutputFormat: charts.ChartOutputSVG, Width: 720, Height: height, Theme: theme,
	})
}

// save writes a chart, of which labels are those left of the axis.
func save(p *charts.Painter, name string, labels []string) error {
	data, err := p.Bytes()
	if err != nil {
		return err
	}
	return os.WriteFile(name, []byte(dressed(string(data), labels)), 0o644)
}
