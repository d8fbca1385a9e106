package main

import (
	"context"
	"net"
	"net/rpc"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding"
)

func init() {
	networks["net/rpc"] = network{host: callerHost(dialRPC), join: joinRPC}
	networks["gRPC"] = network{host: callerHost(dialGRPC), join: joinGRPC}
	encoding.RegisterCodec(cborCodec{})
}

// callerHost is a host that dials, over TCP, the child that answers, as clients of servers do.
func callerHost(
	dial func(place string) (func(*Message) (Message, error), error),
) func(*job) (*host, error) {
	return func(*job) (*host, error) {
		h := &host{}
		h.meet = func(place string) (err error) {
			h.call, err = dial(place)
			return err
		}
		return h, nil
	}
}

// Echo is the service of net/rpc. What it carries is CBOR within its own encoding.
type Echo struct{}

// Echo answers with what it is sent.
func (Echo) Echo(request []byte, answer *[]byte) (err error) {
	*answer, err = echo(request)
	return err
}

func joinRPC(*task) (*party, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := rpc.NewServer()
	if err := s.Register(Echo{}); err != nil {
		return nil, err
	}
	go s.Accept(l)
	return &party{place: l.Addr().String()}, nil
}

func dialRPC(place string) (func(*Message) (Message, error), error) {
	c, err := rpc.Dial("tcp", place)
	if err != nil {
		return nil, err
	}
	return func(m *Message) (Message, error) {
		data, err := encoded(m)
		if err != nil {
			return Message{}, err
		}
		var answer []byte
		if err := c.Call("Echo.Echo", data, &answer); err != nil {
			return Message{}, err
		}
		return decode(answer)
	}, nil
}

// cborCodec has gRPC carry our CBOR as it is.
type cborCodec struct{}

func (cborCodec) Name() string { return "cbor" }

func (cborCodec) Marshal(v any) ([]byte, error) { return encoded(v.(*Message)) }

func (cborCodec) Unmarshal(data []byte, v any) (err error) {
	*v.(*Message), err = decode(data)
	return err
}

const grpcMethod = "/bench.Echo/Echo"

func joinGRPC(*task) (*party, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := grpc.NewServer()
	s.RegisterService(&grpc.ServiceDesc{
		ServiceName: "bench.Echo", HandlerType: (*any)(nil),
		Methods: []grpc.MethodDesc{{MethodName: "Echo", Handler: grpcEcho}},
	}, nil)
	go s.Serve(l)
	return &party{place: l.Addr().String()}, nil
}

func grpcEcho(
	_ any, _ context.Context, read func(any) error, _ grpc.UnaryServerInterceptor,
) (any, error) {
	m := new(Message)
	err := read(m)
	return m, err
}

func dialGRPC(place string) (func(*Message) (Message, error), error) {
	c, err := grpc.NewClient("passthrough:///"+place,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.CallContentSubtype(cborCodec{}.Name())))
	if err != nil {
		return nil, err
	}
	return func(m *Message) (answer Message, err error) {
		err = c.Invoke(context.Background(), grpcMethod, m, &answer)
		return answer, err
	}, nil
}
