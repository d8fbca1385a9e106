package main

import (
	"fmt"
	"slices"
)

// row is one system at some work.
type row struct {
	Label string
	Base  string // the label, in the same case, of what it is compared with; empty: nothing
	Job   job
}

// benchCase is some work that several systems do.
type benchCase struct {
	Name  string
	Title string
	Rate  bool // ratios are of rates, and more is better; otherwise of times, bytes or the like
	Unit  string
	Rows  []row

	from, figure string // it is another figure of what that case has measured; empty: of none
}

// inBytes is the unit of what is no time.
const inBytes = "byte"

// add appends a row of which the job's system is the label.
func (c *benchCase) add(system, base string, j job) {
	j.System = system
	c.Rows = append(c.Rows, row{system, base, j})
}

// addPeers appends those who send messages.
func (c *benchCase) addPeers(j job) {
	c.add("NATS", "bare tcp", j)
	for _, kind := range []string{"unix", "tcp"} {
		c.add("mangos "+kind, "bare "+kind, j)
		c.add("zmq4 "+kind, "bare "+kind, j)
	}
}

// cases are all of them; small ones are for seeing that everything works.
func cases(small bool) (all []*benchCase) {
	pick := func(few, many []int) []int {
		if small {
			return few
		}
		return many
	}
	for _, n := range pick([]int{1}, []int{1, 10, 100}) {
		all = append(all, localCase(n))
	}
	for _, size := range pick([]int{64}, []int{64, 1 << 10, 64 << 10}) {
		all = append(all, oneWayCase(size), relayCase(size))
	}
	for _, n := range pick([]int{8}, []int{1, 64}) {
		all = append(all, requestCase(n))
	}
	for _, n := range pick([]int{3}, []int{3, 10}) {
		all = append(all, fanCase(n))
	}
	return slices.Concat(all, growthCases(small), ownCases(small))
}

func localCase(n int) *benchCase {
	c := &benchCase{
		Name: fmt.Sprintf("local/%d", n), Title: fmt.Sprintf("in one process, 1 to %d", n),
		Unit: "broadcast",
	}
	for _, system := range []string{"bare channel", "lahja Stream", "lahja Subscribe",
		"kelindar/event", "libp2p eventbus", "cskr/pubsub", "tailscale eventbus",
		"watermill gochannel"} {
		base := "bare channel"
		if system == base {
			base = ""
		}
		c.add(system, base, job{Kind: "local", Count: n})
	}
	return c
}

// conduits are the kinds of bare conduit.
var conduits = []string{"pipe", "unix", "tcp"}

// andChannel ends the label of a bare conduit that hands over to another goroutine by a channel.
const andChannel = " and channel"

func bytesText(n int) string {
	if n < 1<<10 {
		return fmt.Sprintf("%d B", n)
	}
	return fmt.Sprintf("%d KiB", n>>10)
}

func oneWayCase(size int) *benchCase {
	c := &benchCase{
		Name: fmt.Sprintf("oneway/%d", size), Title: "parent to child, " + bytesText(size),
		Rate: true, Unit: "event",
	}
	j := job{Kind: "oneway", Size: size, Count: 1}
	for _, kind := range conduits {
		c.add("bare "+kind, "", j)
		c.add("lahja "+kind, "bare "+kind, j)
	}
	for _, kind := range conduits {
		c.add("bare "+kind+andChannel, "", j)
		c.add("lahja "+kind+" by Stream", "bare "+kind+andChannel, j)
	}
	c.addPeers(j)
	return c
}

func relayCase(size int) *benchCase {
	c := &benchCase{
		Name: fmt.Sprintf("relay/%d", size), Title: "child to child, " + bytesText(size),
		Rate: true, Unit: "event",
	}
	j := job{Kind: "relay", Size: size, Count: 1}
	for _, kind := range conduits {
		c.add("bare "+kind, "", j)
		c.add("lahja "+kind, "bare "+kind, j)
	}
	c.addPeers(j)
	return c
}

func requestCase(atOnce int) *benchCase {
	c := &benchCase{
		Name:  fmt.Sprintf("request/%d", atOnce),
		Title: fmt.Sprintf("requests, %d at once, 64 B", atOnce),
		Unit:  "request", Rate: atOnce > 1,
	}
	j := job{Kind: "request", Size: 64, Count: 1, AtOnce: atOnce}
	for _, kind := range conduits {
		c.add("bare "+kind, "", j)
		c.add("lahja "+kind, "bare "+kind, j)
	}
	for _, peer := range []string{"NATS", "net/rpc", "gRPC"} {
		c.add(peer, "bare tcp", j)
	}
	for _, kind := range []string{"unix", "tcp"} {
		c.add("mangos "+kind, "bare "+kind, j)
	}
	return c
}

func fanCase(n int) *benchCase {
	c := &benchCase{
		Name:  fmt.Sprintf("fan/%d", n),
		Title: fmt.Sprintf("1 to %d processes, 64 B", n), Rate: true, Unit: "event",
	}
	j := job{Kind: "oneway", Size: 64, Count: n}
	for _, kind := range conduits {
		c.add("bare "+kind, "", j)
		c.add("lahja "+kind, "bare "+kind, j)
	}
	c.addPeers(j)
	return c
}
