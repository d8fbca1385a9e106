package main

import (
	"fmt"
	"strings"
	"time"
)

// growthCases are about lahja alone: what they compare with is itself when it has little to do.
func growthCases(small bool) []*benchCase {
	counts, subs := []int{10, 100, 1000, 10_000}, []int{10, 100, 1000}
	sizes := []int{1, 64, 1 << 10, 16 << 10, 64 << 10, 1_000_000}
	if small {
		counts, sizes, subs = []int{10, 20}, []int{1, 100_000}, []int{10, 20}
	}
	near := growth("endpoints", "one broadcast to many endpoints in one process", "delivery",
		"endpoints", counts, job{Kind: "crowd", Size: 64})
	far := growth("far-endpoints", "one broadcast to many endpoints of another process, unix",
		"delivery", "endpoints", counts, job{Kind: "far", System: "lahja unix", Size: 64})
	return []*benchCase{
		near,
		near.other("attach", "attaching an endpoint in one process, with a subscription",
			"endpoint"),
		near.other("bytes", "memory of an endpoint in one process, with a subscription", inBytes),
		far,
		far.other("attach", "attaching an endpoint of another process, unix", "endpoint"),
		far.other("bytes", "memory of an endpoint of another process, on either side, unix",
			inBytes),
		growth("subscriptions", "many subscriptions of one endpoint, in one process", "delivery",
			"subscriptions", subs, job{Kind: "subs", Size: 64}),
		growth("others", "beside many subscriptions to other origins, for each of them", "event",
			"subscriptions", subs, job{Kind: "subs", Size: 64, Metric: "others"}),
		sizeCase(sizes),
	}
}

// other is another figure of what c has measured.
func (c *benchCase) other(figure, title, unit string) *benchCase {
	o := *c
	o.Name, o.Title, o.Unit, o.from, o.figure = c.Name+"/"+figure, title, unit, c.Name, figure
	return &o
}

// growth is the same job with growing counts.
func growth(name, title, unit, what string, counts []int, j job) *benchCase {
	c := &benchCase{Name: "growth/" + name, Title: title, Unit: unit}
	base := ""
	for _, n := range counts {
		j.Count = n
		label := fmt.Sprintf("%s %s", grouped(n), what)
		c.Rows = append(c.Rows, row{label, base, j})
		if base == "" {
			base = label
		}
	}
	return c
}

// grouped writes a number with commas.
func grouped(n int) string {
	text := fmt.Sprint(n)
	var parts []string
	for len(text) > 3 {
		parts = append([]string{text[len(text)-3:]}, parts...)
		text = text[:len(text)-3]
	}
	return strings.Join(append([]string{text}, parts...), ",")
}

func sizeCase(sizes []int) *benchCase {
	c := &benchCase{
		Name: "growth/size", Title: "parent to child by the size of the payload, unix", Rate: true,
		Unit: "event",
	}
	for _, size := range sizes {
		j := job{Kind: "oneway", Size: size, Count: 1, System: "bare unix"}
		base := fmt.Sprintf("bare, %s B", grouped(size))
		c.Rows = append(c.Rows, row{base, "", j})
		j.System = "lahja unix"
		c.Rows = append(c.Rows, row{fmt.Sprintf("lahja, %s B", grouped(size)), base, j})
	}
	return c
}

// ownCases are lahja's own benchmark with its parameters.
func ownCases(small bool) []*benchCase {
	c := &benchCase{
		Name: "own/broadcast", Title: "lahja's own benchmark, broadcast", Rate: true, Unit: "event",
	}
	r := &benchCase{
		Name: "own/request", Title: "lahja's own benchmark, request", Rate: true, Unit: "request",
	}
	processes := []int{3, 10}
	events := [][2]int{{10, 1}, {100, 1}, {10_000, 1}, {10_000, 1000}, {100, 1_000_000}}
	if small {
		processes, events = processes[:1], events[:1]
	}
	for _, n := range processes {
		for _, e := range events {
			j := job{Count: n, Events: e[0], Size: e[1]}
			c.addOwn(j, "oneway")
			j.AtOnce = 1
			if e[1] != 1000 {
				r.addOwn(j, "request")
			}
		}
	}
	l := &benchCase{
		Name: "own/throttle", Title: "lahja's own benchmark, broadcast with a throttle: latency",
		Unit: "event",
	}
	throttles := []time.Duration{time.Millisecond, 10 * time.Millisecond}
	if small {
		throttles = throttles[:1]
	}
	for _, throttle := range throttles {
		for _, n := range processes {
			base := ""
			if n != processes[0] {
				base = l.Rows[len(l.Rows)-1].Label
			}
			l.Rows = append(l.Rows, row{fmt.Sprintf("%d processes, throttle %v", n, throttle), base,
				job{Kind: "own", Count: n, Events: 100, Size: 1, Throttle: throttle,
					Metric: "latency"}})
		}
	}
	return []*benchCase{c, r, l}
}

// addOwn adds the benchmark beside the bare conduit with the same parameters.
func (c *benchCase) addOwn(j job, kind string) {
	label := fmt.Sprintf("%d processes, %s events, %s B", j.Count, grouped(j.Events),
		grouped(j.Size))
	bare := j
	bare.Kind, bare.System = kind, "bare unix"
	if kind == "request" {
		bare.Count = 1 // who answers; of several the first answer counts
	}
	c.Rows = append(c.Rows, row{"bare unix, " + label, "", bare})
	j.Kind = "own"
	c.Rows = append(c.Rows, row{"lahja, " + label, "bare unix, " + label, j})
}
