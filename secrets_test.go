package lahja_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lahja-go/lahja"
	"github.com/lahja-go/lahja/internal/wire"
	"github.com/lahja-go/lahja/transports/faulty"
	"github.com/lahja-go/lahja/transports/memory"
	"github.com/lahja-go/lahja/transports/tcp"
	"github.com/lahja-go/lahja/transports/unix"
)

// betrays says in which form a secret is in a text, if it is: half of it suffices.
func betrays(text string, secret []byte) string {
	half := secret[:max(1, len(secret)/2)]
	decimal := strings.Trim(fmt.Sprint(half), "[]")
	literal := strings.TrimPrefix(fmt.Sprintf("%#v", half), "[]byte{")
	forms := map[string]string{
		"as it is":       string(half),
		"quoted":         strings.Trim(fmt.Sprintf("%q", half), `"`),
		"hexadecimal":    hex.EncodeToString(half),
		"HEXADECIMAL":    strings.ToUpper(hex.EncodeToString(half)),
		"base64":         base64.RawStdEncoding.EncodeToString(half)[:len(half)],
		"base64 for URL": base64.RawURLEncoding.EncodeToString(half)[:len(half)],
		"numbers":        decimal,
		"numbers of Go":  strings.TrimSuffix(literal, "}"),
		"with commas":    strings.ReplaceAll(decimal, " ", ", "),
	}
	for form, s := range forms {
		if strings.Contains(text, s) {
			return form
		}
	}
	return ""
}

// The scan can fail: it finds a secret in every way in which fmt and the like print one.
func TestBetraysFinds(t *testing.T) {
	secret := []byte("\x01\x80secret of 16 b")
	type holds struct {
		Name   string
		secret []byte
	}
	for _, text := range []string{
		fmt.Sprintf("%v", holds{"x", secret}), fmt.Sprintf("%+v", &holds{"x", secret}),
		fmt.Sprintf("%#v", holds{"x", secret}), string(secret), fmt.Sprintf("%q", secret),
		fmt.Sprintf("%x", secret), fmt.Sprintf("%X", secret), fmt.Sprintf("%v", [16]byte(secret)),
		base64.StdEncoding.EncodeToString(secret), base64.URLEncoding.EncodeToString(secret),
	} {
		if betrays(text, secret) == "" {
			t.Errorf("not found in %q", text)
		}
	}
	if form := betrays("endpoint x", secret); form != "" {
		t.Errorf("found %s where it is not", form)
	}
}

// overheard is a transport that notes the secrets in what is said over it.
type overheard struct {
	lahja.Transport
	mu      sync.Mutex // guards secrets
	secrets map[string][]byte
}

func (o *overheard) Redials() bool { return true }

func (o *overheard) Dial(ctx context.Context) (lahja.Conn, error) {
	c, err := o.Transport.Dial(ctx)
	return &overheardConn{Conn: c, by: o}, err
}

type overheardConn struct {
	lahja.Conn
	by   *overheard
	said []byte
}

// Read looks for the Welcome in what comes.
func (c *overheardConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.said = append(c.said, p[:n]...)
	body := c.said[min(len(c.said), len(wire.Preface)+wire.HeaderSize):]
	var w wire.Welcome
	if f, _, bad := wire.Next(body, wire.MaxHandshake); bad == nil && f.Type == wire.TypeWelcome &&
		wire.ParseControl(f.Body, &w) == nil && len(w.Token) > 0 {
		c.by.mu.Lock()
		c.by.secrets["the session's secret"] = bytes.Clone(w.Token)
		c.by.mu.Unlock()
	}
	return n, err
}

// printed is all that may be printed of values.
func printed(values ...any) string {
	var text strings.Builder
	for _, v := range values {
		fmt.Fprintf(&text, "%v\n%+v\n%#v\n%s\n%d\n%x\n", v, v, v, v, v, v)
	}
	return text.String()
}

// Neither the secret of a session nor a private key nor what Authorize says of a refusal is in the
// log, in an error of who is refused, or in what is printed of any value of the package.
func TestSecretsAreNotTold(t *testing.T) {
	log := &logText{}
	logTo(t, slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	o := newOffice(t)
	certificate := o.issue(t, time.Now().Add(time.Hour))
	key, err := certificate.PrivateKey.(*ecdsa.PrivateKey).Bytes()
	if err != nil {
		t.Fatal(err)
	}
	const reason = "the password is wrong"
	secrets := map[string][]byte{"the key": key, "the reason": []byte(reason)}
	authorize := lahja.Authorize(func(_ context.Context, name string, _ lahja.Identity) (
		lahja.Permissions, error,
	) {
		if name == "wrong" {
			return lahja.Permissions{}, errors.New(reason)
		}
		return lahja.AllowAll(), nil
	})
	secure := tcp.TLS(o.config(certificate))
	v := venue{"tls", func(s *stage) (lahja.Listener, lahja.Transport, error) {
		l, err := tcp.New("127.0.0.1:0", secure).Listen(s.ctx)
		if err != nil {
			return nil, nil, err
		}
		return l, tcp.New(l.Addr(), secure), nil
	}}
	s := newStage(t, &v, [2]bool{}, authorize, lahja.Limits{Resume: time.Second})
	ear := &overheard{Transport: s.place, secrets: secrets}
	s.place = ear
	said := secretsLife(s, ear)
	said += log.String()
	ear.mu.Lock()
	defer ear.mu.Unlock()
	t.Logf("%d bytes of text, %d secrets", len(said), len(secrets))
	if len(secrets) != 3 || len(log.String()) == 0 {
		t.Errorf("it knows %d secrets, and the log has %d bytes", len(secrets), len(log.String()))
	}
	for what, secret := range secrets {
		if form := betrays(said, secret); form != "" {
			t.Errorf("%s is told, %s: %s", what, form, said)
		}
	}
}

// secretsLife is a session in which much goes wrong, and returns all that is said of it.
func secretsLife(s *stage, ear *overheard) string {
	own, ep := s.own("own"), s.connect("worker")
	handled := make(chan bool, 1)
	sub, err := lahja.Subscribe(s.ctx, ep, func(context.Context, lahja.Event[item]) {
		handled <- true
		panic("no")
	}, lahja.RecoverPanics())
	s.must(err)
	say(s, own, item{1})
	take(s, handled)
	_, wrong := s.attach("wrong")
	_, taken := s.attach("worker")
	_, refused := lahja.Connect(s.ctx, "x", tcp.New(s.address)) // without TLS
	conn, err := s.place.Dial(s.ctx)
	s.must(err)
	_, err = io.WriteString(conn, "GET / HTTP/1.1\r\n\r\n")
	s.must(err)
	garbage, _ := io.ReadAll(conn)
	s.wires.all[0].Close() // it resumes
	for st := range ep.WatchState(s.ctx) {
		if st.Connected && st.Resumes == 1 {
			break
		}
	}
	peers, _ := ep.Peers(s.ctx)
	ev, _ := lahja.Request[asked, claim](s.ctx, ep, asked{})
	text := printed(peers, ev, conn.Identity(), wrong, taken, refused, ear.Transport,
		tcp.New("x", tcp.TLS(nil)), unix.New("x"), memory.New(), faulty.New(memory.New(), 1, nil),
		ep.Stats(), s.bus.Stats(), lahja.Limits{}, lahja.AllowAll(), string(garbage))
	ep.Close()
	<-ep.Done() // the panic is logged
	own.Close()
	s.bus.Close()
	text += printed(ep.Err(), sub.Err())
	if !raceDetector { // which minds that fmt reads what has locks without taking them
		text += printed(s.bus, *s.bus, ep, own, sub, conn.(*overheardConn).Conn)
	}
	return text
}
