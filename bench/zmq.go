package main

import (
	"context"
	"time"

	"github.com/go-zeromq/zmq4"
)

func init() {
	for _, kind := range []string{"unix", "tcp"} {
		networks["zmq4 "+kind] = network{host: zmqHost(kind), join: zmqJoin(kind), direct: true}
	}
}

func zmqAddress(kind string) string {
	if kind == "tcp" {
		return "tcp://127.0.0.1:0"
	}
	return "ipc://" + socketPath()
}

// zmqListen returns the place at which s listens then.
func zmqListen(s zmq4.Socket, kind string) (place string, err error) {
	address := zmqAddress(kind)
	err = s.Listen(address)
	if err == nil && kind == "tcp" {
		address = "tcp://" + s.Addr().String()
	}
	return address, err
}

// zmqSocketFor is the kind of socket for the work: PUSH and PULL for two, PUB and SUB for more.
func zmqSocketFor(j *job, r role) zmq4.Socket {
	ctx, patience := context.Background(), zmq4.WithTimeout(time.Minute)
	switch {
	case r == receiving && j.Count == 1:
		return zmq4.NewPull(ctx, patience)
	case j.Count == 1:
		return zmq4.NewPush(ctx, patience)
	case r == receiving:
		return zmq4.NewSub(ctx, patience)
	}
	return zmq4.NewPub(ctx, patience)
}

func zmqHost(kind string) func(*job) (*host, error) {
	return func(j *job) (*host, error) {
		h := &host{}
		if j.Kind == "relay" {
			return h, nil
		}
		s := zmqSocketFor(j, "")
		h.send = zmqSend(s)
		// It complains when the others have gone first.
		h.close = func() error { s.Close(); return nil }
		var err error
		h.place, err = zmqListen(s, kind)
		return h, err
	}
}

func zmqSend(s zmq4.Socket) func(*Message) error {
	return func(m *Message) error {
		data, err := encoded(m)
		if err != nil {
			return err
		}
		return s.Send(zmq4.NewMsg(data))
	}
}

func zmqJoin(kind string) func(*task) (*party, error) {
	return func(t *task) (*party, error) {
		s := zmqSocketFor(&t.job, t.Role)
		p := &party{send: zmqSend(s)}
		var err error
		if t.Kind == "relay" && t.Role == receiving {
			p.place, err = zmqListen(s, kind)
		} else {
			err = s.Dial(t.Place)
		}
		if err != nil {
			return nil, err
		}
		if t.Role == receiving {
			if t.Count > 1 {
				err = s.SetOption(zmq4.OptionSubscribe, "")
			}
			go zmqReceive(s, t.sink)
		}
		return p, err
	}
}

func zmqReceive(s zmq4.Socket, sink *sink) {
	for {
		m, err := s.Recv()
		if err != nil {
			return
		}
		sink.takeEncoded(m.Bytes())
	}
}
