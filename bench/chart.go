package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/go-analyze/charts"
)

// Colours of medium lightness, on no background: they are readable on a light and on a dark page.
var (
	ink   = charts.ColorRGB(128, 134, 139)
	grid  = charts.ColorRGB(128, 134, 139).WithAlpha(70)
	blue  = charts.ColorRGB(66, 133, 244)
	amber = charts.ColorRGB(227, 134, 18)
	green = charts.ColorRGB(30, 150, 90)
	theme = charts.MakeTheme(charts.ThemeOption{
		AxisStrokeColor: ink, AxisSplitLineColor: grid, BackgroundColor: charts.ColorTransparent,
		TextColor: ink, TextColorTitle: ink, TextColorMark: ink, TextColorLabel: ink,
		TextColorLegend: ink, TextColorXAxis: ink, TextColorYAxis: ink,
		SeriesColors: []charts.Color{blue, amber, green},
	})
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

// write draws the rows that are compared with something, the fastest at the top.
func (c *bars) write(dir string, t *table) error {
	type bar struct {
		label string
		share float64
	}
	var all []bar
	for _, r := range t.Rows {
		if r.Base == "" {
			continue
		}
		f := ratio(t.values(r.Label), t.values(r.Base), true)
		all = append(all, bar{r.Label, f.median})
	}
	slices.SortFunc(all, func(a, b bar) int { // the first comes lowest
		return int(1e6*a.share) - int(1e6*b.share)
	})
	labels, values := make([]string, len(all)), make([]float64, len(all))
	for i, b := range all {
		labels[i], values[i] = b.label, b.share
	}
	opt := charts.NewBarChartOptionWithData([][]float64{values})
	opt.Horizontal = true
	opt.Theme = theme
	opt.Title = charts.TitleOption{Text: c.title, FontStyle: charts.FontStyle{FontSize: 12}}
	opt.CategoryAxis.Labels = labels
	opt.Legend.Show = charts.Ptr(false)
	opt.ValueFormatter = number
	opt.SeriesList[0].Label = charts.SeriesLabel{Show: charts.Ptr(true), ValueFormatter: number}
	p := charts.NewPainter(charts.PainterOptions{
		OutputFormat: charts.ChartOutputSVG, Width: 720, Height: 90 + 26*len(all), Theme: theme,
	})
	if err := p.BarChart(opt); err != nil {
		return err
	}
	return save(p, filepath.Join(dir, c.file))
}

// lines of a chart of how costs grow.
var growths = []struct{ name, label string }{
	{"growth/endpoints", "for each endpoint in one process"},
	{"growth/far-endpoints", "for each endpoint of another process"},
	{"growth/far-endpoints/attach", "attaching in another process"},
}

// writeGrowth draws how the cost for each endpoint changes with their number.
func writeGrowth(dir string, tables []*table) error {
	var data [][]float64
	var names, labels []string
	for _, g := range growths {
		i := slices.IndexFunc(tables, func(t *table) bool { return t.Name == g.name })
		if i < 0 {
			continue
		}
		t := tables[i]
		var line []float64
		labels = nil
		for _, r := range t.Rows {
			f := ratio(t.values(r.Label), t.values(t.Rows[0].Label), false)
			line = append(line, f.median)
			labels = append(labels, r.Label)
		}
		data, names = append(data, line), append(names, g.label)
	}
	if len(data) == 0 {
		return nil
	}
	opt := charts.NewLineChartOptionWithData(data)
	opt.Theme = theme
	opt.Title = charts.TitleOption{Text: "cost for each endpoint, against that of the fewest",
		FontStyle: charts.FontStyle{FontSize: 12}}
	opt.XAxis.Labels = labels
	opt.Legend = charts.LegendOption{SeriesNames: names, Offset: charts.OffsetStr{Top: "30"}}
	opt.ValueFormatter = number
	p := charts.NewPainter(charts.PainterOptions{
		OutputFormat: charts.ChartOutputSVG, Width: 720, Height: 400, Theme: theme,
	})
	if err := p.LineChart(opt); err != nil {
		return err
	}
	return save(p, filepath.Join(dir, "growth.svg"))
}

func save(p *charts.Painter, name string) error {
	data, err := p.Bytes()
	if err != nil {
		return err
	}
	return os.WriteFile(name, data, 0o644)
}
