package core

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// The first attempt to connect comes at once. The pauses before the others are twice as long each
// time, by chance up to half of it shorter, and two seconds at most.
func TestBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b backoff
		differ := map[time.Duration]bool{}
		for n := range 100 {
			begin, pause := time.Now(), time.Duration(0)
			if n > 0 {
				pause = min(20*time.Millisecond<<min(n-1, 10), 2*time.Second)
			}
			b.wait(context.Background())
			took := time.Since(begin)
			if took < pause/2 || took > pause {
				t.Errorf("pause %d is %v, of %v", n, took, pause)
			}
			differ[took] = true
		}
		if len(differ) < 90 {
			t.Errorf("of 100 pauses %d differ", len(differ))
		}
	})
}

// A session is connected when it is restored and has a connection, in whatever order that comes.
func TestRestoredAndConnected(t *testing.T) {
	why := errors.New("broken")
	for name, come := range map[string]func(l *line, p *peer){
		"restored": func(l *line, p *peer) { l.install(p) },
		"resumed, restored": func(l *line, p *peer) {
			l.breaks(p, why)
			l.resumed(p)
			l.install(p)
		},
		"restored, resumed": func(l *line, p *peer) {
			l.breaks(p, why)
			l.install(p)
			l.resumed(p)
		},
	} {
		l, p := &line{}, &peer{}
		come(l, p)
		if s, _ := l.look(); !s.Connected || s.Err != nil || s.Restarts != 1 {
			t.Errorf("%s: %+v", name, s)
		}
	}
	for name, come := range map[string]func(l *line, p *peer){
		"broken, restored": func(l *line, p *peer) {
			l.breaks(p, why)
			l.install(p)
		},
		"only resumed": func(l *line, p *peer) {
			l.breaks(p, why)
			l.resumed(p)
		},
	} {
		l, p := &line{}, &peer{}
		come(l, p)
		if s, _ := l.look(); s.Connected || !errors.Is(s.Err, why) {
			t.Errorf("%s: %+v", name, s)
		}
	}
}
