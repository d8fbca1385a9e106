package main

import (
	"math"
	"time"
)

// expect tells children up to which number messages will come.
func expect(children []*child, last uint64) error {
	for _, c := range children {
		if err := c.ask("expecting", "expect", last); err != nil {
			return err
		}
	}
	return nil
}

func awaitAll(children []*child, word string) error {
	for _, c := range children {
		if _, err := c.await(word); err != nil {
			return err
		}
	}
	return nil
}

// runOneWay measures the time to send from this process to each of Count children.
func runOneWay(j *job) (*result, error) {
	s, err := openStage(j)
	if err != nil {
		return nil, err
	}
	if err := s.hire(j, receiving, j.Count, s.place); err != nil {
		return nil, err
	}
	if err := s.settle(); err != nil {
		return nil, err
	}
	err = probeAll(s.children, func() error { return sendAll(&s.party, 0, probe, 1) })
	if err != nil {
		return nil, err
	}
	j.spent = s.spent
	next := uint64(1)
	r, err := j.lasting(networks[j.System].limit(), func(n int) (time.Duration, error) {
		if err := expect(s.children, next+uint64(n)-1); err != nil {
			return 0, err
		}
		start := time.Now()
		if err := sendAll(&s.party, j.Size, next, n); err != nil {
			return 0, err
		}
		if err := awaitAll(s.children, "reached"); err != nil {
			return 0, err
		}
		next += uint64(n)
		return time.Since(start), nil
	})
	if err != nil {
		return nil, err
	}
	return r, s.end()
}

// runRelay measures the time to send from one child to another.
func runRelay(j *job) (*result, error) {
	s, err := openStage(j)
	if err != nil {
		return nil, err
	}
	if err := s.hire(j, receiving, 1, s.place); err != nil {
		return nil, err
	}
	receiver, place := s.children[0], s.place
	if networks[j.System].direct {
		place = receiver.place
	}
	if err := s.hire(j, sending, 1, place); err != nil {
		return nil, err
	}
	sender := s.children[1]
	if err := s.settle(); err != nil {
		return nil, err
	}
	err = probeAll(s.children[:1], func() error { return sender.ask("sent", "send", probe, 1) })
	if err != nil {
		return nil, err
	}
	j.spent = s.spent
	next := uint64(1)
	r, err := j.lasting(networks[j.System].limit(), func(n int) (time.Duration, error) {
		if err := expect(s.children[:1], next+uint64(n)-1); err != nil {
			return 0, err
		}
		start := time.Now()
		if err := sender.tell("send", next, n); err != nil {
			return 0, err
		}
		if err := awaitAll(s.children[:1], "reached"); err != nil {
			return 0, err
		}
		took := time.Since(start)
		next += uint64(n)
		_, err := sender.await("sent")
		return took, err
	})
	if err != nil {
		return nil, err
	}
	return r, s.end()
}

// runRequest measures how long requests to a child take: the median of one at a time, or with
// several at once the time for each of them.
func runRequest(j *job) (*result, error) {
	s, err := openStage(j)
	if err != nil {
		return nil, err
	}
	if err := s.hire(j, answering, 1, s.place); err != nil {
		return nil, err
	}
	if err := s.settle(); err != nil {
		return nil, err
	}
	j.spent = s.spent
	var times []time.Duration
	r, err := j.lasting(1<<30, func(n int) (time.Duration, error) {
		start := time.Now()
		times, err = j.together(n, func(i int) error {
			m := newMessage(j.Size)
			m.stamp(uint64(i))
			answer, err := s.call(m)
			if err != nil {
				return err
			}
			return answer.check(uint64(i), j.Size)
		})
		return time.Since(start), err
	})
	if err != nil {
		return nil, err
	}
	p50, p99 := times[len(times)/2], times[len(times)*99/100]
	r.Extra["p50"], r.Extra["p99"] = float64(p50), float64(p99)
	if j.AtOnce == 1 {
		r.Value = float64(p50)
	}
	return r, s.end()
}

// limit is how many messages may be on their way.
func (n network) limit() int {
	if n.most > 0 {
		return n.most
	}
	return math.MaxInt32
}
