package main

import (
	"context"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

func init() {
	networks["NATS"] = network{host: natsHost, join: natsJoin}
}

const subject = "message"

// natsHost embeds the server and connects to it over TCP, which is faster than in process.
func natsHost(*job) (*host, error) {
	s, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT, NoLog: true, NoSigs: true,
		MaxPayload: 8 << 20, MaxPending: 512 << 20,
	})
	if err != nil {
		return nil, err
	}
	s.Start()
	s.ReadyForConnections(10 * time.Second)
	nc, err := nats.Connect(s.ClientURL())
	if err != nil {
		return nil, err
	}
	h := &host{party: natsParty(nc)}
	h.place = s.ClientURL()
	h.close = func() error {
		nc.Close()
		s.Shutdown()
		return nil
	}
	return h, nil
}

func natsParty(nc *nats.Conn) party {
	return party{
		send: func(m *Message) error {
			data, err := encoded(m)
			if err != nil {
				return err
			}
			return nc.Publish(subject, data)
		},
		flush: nc.Flush,
		call: func(m *Message) (Message, error) {
			data, err := encoded(m)
			if err != nil {
				return Message{}, err
			}
			reply, err := nc.RequestWithContext(context.Background(), subject, data)
			if err != nil {
				return Message{}, err
			}
			return decode(reply.Data)
		},
	}
}

func natsJoin(t *task) (*party, error) {
	nc, err := nats.Connect(t.Place)
	if err != nil {
		return nil, err
	}
	p := natsParty(nc)
	p.close = func() error { nc.Close(); return nil }
	if t.Role == sending {
		return &p, nil
	}
	sub, err := nc.Subscribe(subject, func(msg *nats.Msg) {
		if t.Role == receiving {
			t.sink.takeEncoded(msg.Data)
			return
		}
		natsAnswer(msg)
	})
	if err != nil {
		return nil, err
	}
	if err := sub.SetPendingLimits(-1, -1); err != nil { // or it drops
		return nil, err
	}
	return &p, nc.Flush()
}

func natsAnswer(msg *nats.Msg) {
	m, err := decode(msg.Data)
	if err != nil {
		panic(err)
	}
	data, err := encoded(&m)
	if err != nil {
		panic(err)
	}
	if err := msg.Respond(data); err != nil {
		panic(err)
	}
}
