package main

import "fmt"

// place is a row of a case.
type place struct{ name, label string }

// goal is what a row is meant to reach, as the ratio of its time to that of another.
type goal struct {
	what    string
	of      place
	against []place // the best of them counts
	times   float64 // so many of the other's
	rate    bool    // ratios are of rates, and at least the limit; otherwise of times and at most
	limit   float64
	figure  bool // the limit is one of the row's own value
}

func (g *goal) text() string {
	if g.rate {
		return fmt.Sprintf("at least %v", g.limit)
	}
	return fmt.Sprintf("at most %v", g.limit)
}

// goals are those that the project has set itself.
func goals() (all []goal) {
	local := func(n int, limit float64) goal {
		name := fmt.Sprintf("local/%d", n)
		return goal{
			what: fmt.Sprintf("in one process, 1 to %d streams: time against bare channels", n),
			of:   place{name, "lahja Stream"}, against: []place{{name, "bare channel"}},
			limit: limit,
		}
	}
	all = append(all, local(1, 1.6), local(10, 1))
	for _, kind := range conduits {
		all = append(all, processGoals(kind)...)
	}
	rivals := []place{}
	for _, peer := range []string{"NATS", "net/rpc", "gRPC", "mangos unix", "mangos tcp"} {
		rivals = append(rivals, place{"request/64", peer})
	}
	all = append(all, goal{
		what: "64 requests at once, tcp: rate against the best of NATS, net/rpc, gRPC, mangos",
		of:   place{"request/64", "lahja tcp"}, against: rivals, rate: true, limit: 2,
	})
	for _, kind := range conduits {
		all = append(all, fanGoals(kind)...)
	}
	return append(all,
		goal{what: "10,000 endpoints in one process: memory of each", figure: true, limit: 4 << 10,
			of: place{"growth/endpoints/bytes", "10,000 endpoints"}},
		goal{what: "10,000 endpoints on sockets: memory of each", figure: true, limit: 48 << 10,
			of: place{"growth/far-endpoints/bytes", "10,000 endpoints"}})
}

func processGoals(kind string) []goal {
	one := func(what, name, label, against string, rate bool, limit float64) goal {
		return goal{what: what + ", " + kind, of: place{name, label},
			against: []place{{name, against}}, rate: rate, limit: limit}
	}
	return []goal{
		one("parent to child by Subscribe: rate against the bare conduit",
			"oneway/64", "lahja "+kind, "bare "+kind, true, 0.8),
		one("parent to child by Stream: rate against the bare conduit and a channel",
			"oneway/64", "lahja "+kind+" by Stream", "bare "+kind+" and channel", true, 0.8),
		one("child to child: rate against the bare conduit",
			"relay/64", "lahja "+kind, "bare "+kind, true, 0.5),
		one("one request at a time: median time against a bare echo",
			"request/1", "lahja "+kind, "bare "+kind, false, 1.5),
	}
}

func fanGoals(kind string) []goal {
	of := place{"fan/10", "lahja " + kind}
	return []goal{
		{what: "1 to 10 processes: rate against NATS, " + kind, of: of,
			against: []place{{"fan/10", "NATS"}}, rate: true, limit: 2},
		{what: "1 to 10 processes: time against ten times 1 to 1, " + kind, of: of,
			against: []place{{"oneway/64", "lahja " + kind}}, times: 10, limit: 0.5},
	}
}

// reached evaluates g; known is false when what it needs was not measured.
func (g *goal) reached(tables map[string]*table) (f figures, ok, known bool) {
	values := func(p place) []float64 {
		if t := tables[p.name]; t != nil {
			return t.values(p.label)
		}
		return nil
	}
	own := values(g.of)
	if g.figure {
		f = figuresOf(own)
		return f, f.median <= g.limit, !f.none()
	}
	var best []float64
	for _, p := range g.against {
		if v := values(p); best == nil || figuresOf(v).median < figuresOf(best).median {
			best = v
		}
	}
	if g.times > 0 {
		scaled := make([]float64, len(best))
		for i, v := range best {
			scaled[i] = g.times * v
		}
		best = scaled
	}
	f = ratio(own, best, g.rate)
	if g.rate {
		return f, f.median >= g.limit, !f.none()
	}
	return f, f.median <= g.limit, !f.none()
}
