package main

import (
	"errors"

	"go.nanomsg.org/mangos/v3"
	"go.nanomsg.org/mangos/v3/protocol/pair"
	"go.nanomsg.org/mangos/v3/protocol/pub"
	"go.nanomsg.org/mangos/v3/protocol/rep"
	"go.nanomsg.org/mangos/v3/protocol/req"
	"go.nanomsg.org/mangos/v3/protocol/sub"
	_ "go.nanomsg.org/mangos/v3/transport/ipc"
	_ "go.nanomsg.org/mangos/v3/transport/tcp"
)

// mangosQueue is the length of the queues. PUB and SUB drop what exceeds it, so that it is also the
// most that is sent at once.
const mangosQueue = 1 << 14

func init() {
	for _, kind := range []string{"unix", "tcp"} {
		networks["mangos "+kind] = network{
			host: mangosHost(kind), join: mangosJoin(kind), direct: true, most: mangosQueue,
		}
	}
}

func mangosAddress(kind string) string {
	if kind == "tcp" {
		return "tcp://127.0.0.1:0"
	}
	return "ipc://" + socketPath()
}

// mangosSocket makes a socket with long queues.
func mangosSocket(open func() (mangos.Socket, error), options ...string) (mangos.Socket, error) {
	s, err := open()
	for _, option := range options {
		if err == nil {
			err = s.SetOption(option, mangosQueue)
		}
	}
	return s, err
}

func mangosListen(s mangos.Socket, kind string) (place string, err error) {
	l, err := s.NewListener(mangosAddress(kind), nil)
	if err != nil {
		return "", err
	}
	err = l.Listen()
	return l.Address(), err
}

// mangosSocketFor is the kind of socket for the work: PAIR for two, which is faster than PUSH and
// PULL, PUB for more.
func mangosSocketFor(j *job, r role) (mangos.Socket, error) {
	switch {
	case r == answering:
		return rep.NewSocket()
	case j.Kind == "request":
		return req.NewSocket()
	case j.Count == 1:
		return mangosSocket(pair.NewSocket, mangos.OptionWriteQLen, mangos.OptionReadQLen)
	case r == receiving:
		return mangosSocket(sub.NewSocket, mangos.OptionReadQLen)
	}
	return mangosSocket(pub.NewSocket, mangos.OptionWriteQLen)
}

func mangosHost(kind string) func(*job) (*host, error) {
	return func(j *job) (*host, error) {
		h := &host{}
		if j.Kind == "relay" {
			return h, nil
		}
		s, err := mangosSocketFor(j, "")
		if err != nil {
			return nil, err
		}
		h.send = mangosSend(s)
		if j.Kind == "request" {
			h.call, err = mangosCaller(s, j.AtOnce)
		}
		if err != nil {
			return nil, err
		}
		h.place, err = mangosListen(s, kind)
		h.close = s.Close
		return h, err
	}
}

func mangosSend(s mangos.Socket) func(*Message) error {
	return func(m *Message) error {
		data, err := encoded(m)
		if err != nil {
			return err
		}
		return s.Send(data)
	}
}

// mangosCaller gives each of those who call at once a context of its own.
func mangosCaller(s mangos.Socket, atOnce int) (func(*Message) (Message, error), error) {
	idle := make(chan mangos.Context, atOnce)
	for range atOnce {
		c, err := s.OpenContext()
		if err != nil {
			return nil, err
		}
		idle <- c
	}
	return func(m *Message) (Message, error) {
		data, err := encoded(m)
		if err != nil {
			return Message{}, err
		}
		c := <-idle
		defer func() { idle <- c }()
		if err := c.Send(data); err != nil {
			return Message{}, err
		}
		if data, err = c.Recv(); err != nil {
			return Message{}, err
		}
		return decode(data)
	}, nil
}

func mangosJoin(kind string) func(*task) (*party, error) {
	return func(t *task) (*party, error) {
		s, err := mangosSocketFor(&t.job, t.Role)
		if err != nil {
			return nil, err
		}
		p := &party{send: mangosSend(s)}
		if t.Role == receiving && t.Count > 1 {
			if err := s.SetOption(mangos.OptionSubscribe, ""); err != nil {
				return nil, err
			}
		}
		if t.Kind == "relay" && t.Role == receiving {
			p.place, err = mangosListen(s, kind)
		} else {
			err = s.Dial(t.Place)
		}
		switch t.Role {
		case receiving:
			go mangosReceive(s, t.sink)
		case answering:
			err = errors.Join(err, mangosAnswer(s, t.AtOnce))
		}
		return p, err
	}
}

func mangosReceive(s mangos.Socket, sink *sink) {
	for {
		data, err := s.Recv()
		if err != nil {
			return
		}
		sink.takeEncoded(data)
	}
}

// mangosAnswer answers with as many contexts as there are requests at once.
func mangosAnswer(s mangos.Socket, atOnce int) error {
	for range atOnce {
		c, err := s.OpenContext()
		if err != nil {
			return err
		}
		go answerAll(c.Recv, c.Send)
	}
	return nil
}

// answerAll echoes what comes.
func answerAll(receive func() ([]byte, error), send func([]byte) error) {
	for {
		data, err := receive()
		if err != nil {
			return
		}
		if data, err = echo(data); err != nil {
			panic(err)
		}
		if err := send(data); err != nil {
			return
		}
	}
}

// echo decodes a request and encodes the answer.
func echo(data []byte) ([]byte, error) {
	m, err := decode(data)
	if err != nil {
		return nil, err
	}
	return encoded(&m)
}
