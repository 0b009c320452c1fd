package server

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"apimrelay/handler/internal/app"
	"apimrelay/handler/internal/relay"
	"apimrelay/handler/internal/settings"
	"apimrelay/handler/internal/target"
)

// events notes what is done with an answer and when, in order. It needs no lock: nobody may write
// while somebody flushes.
type events struct {
	http.ResponseWriter
	began time.Time
	seen  []string
}

func (e *events) note(what string) {
	e.seen = append(e.seen, fmt.Sprint(what, " at ", time.Since(e.began)))
}

func (e *events) Write(p []byte) (int, error) {
	e.note("write " + string(p))
	return e.ResponseWriter.Write(p)
}

func (e *events) FlushError() error {
	e.note("flush")
	return nil
}

// piecemeal is a body whose pieces come one after the other, each after a wait of its own. The last
// comes with the end, as net/http reads a body whose end is at hand.
type piecemeal struct {
	waits []time.Duration
	text  string
	err   error
}

func (p *piecemeal) Read(b []byte) (int, error) {
	time.Sleep(p.waits[0])
	if len(p.waits) == 1 {
		return copy(b, p.text), p.err
	}
	p.waits = p.waits[1:]
	n := copy(b, p.text[:1])
	p.text = p.text[n:]
	return n, nil
}

func (p *piecemeal) Close() error { return nil }

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestAnAnswerIsFlushedBeforeAnybodyWaits(t *testing.T) {
	const us, s = time.Microsecond, time.Second // at hand, or not
	for name, c := range map[string]struct {
		waits []time.Duration
		err   error
		want  []string
	}{
		"all at hand": {[]time.Duration{us, us, us}, io.EOF,
			[]string{"write a at 1µs", "write b at 2µs", "write c at 3µs"}},
		"the header": {[]time.Duration{s}, io.EOF, []string{"flush at 1ms", "write abc at 1s"}},
		"the header, and what follows": {[]time.Duration{s, us, us}, io.EOF,
			[]string{"flush at 1ms", "write a at 1s", "write b at 1.000001s", "write c at 1.000002s"}},
		"each piece": {[]time.Duration{0, s, s}, io.EOF,
			[]string{"write a at 0s", "flush at 1ms", "write b at 1s", "flush at 1.001s", "write c at 2s"}},
		"two pieces together": {[]time.Duration{0, us, s}, io.EOF,
			[]string{"write a at 0s", "write b at 1µs", "flush at 1.001ms", "write c at 1.000001s"}},
		"what comes before a cut": {[]time.Duration{0, s}, io.ErrUnexpectedEOF,
			[]string{"write a at 0s", "flush at 1ms", "write bc at 1s"}},
		"once in a long wait": {[]time.Duration{0, time.Hour}, io.EOF,
			[]string{"write a at 0s", "flush at 1ms", "write bc at 1h0m0s"}},
	} {
		for _, length := range []int64{3, -1} {
			synctest.Test(t, func(t *testing.T) {
				w := &events{ResponseWriter: httptest.NewRecorder(), began: time.Now()}
				upstream, err := target.Parse("https://gateway.example/orders")
				if err != nil {
					t.Fatal(err)
				}
				gateway := roundTrip(func(*http.Request) (*http.Response, error) {
					body := &piecemeal{c.waits, "abc", c.err}
					return &http.Response{StatusCode: 200, Header: http.Header{}, ContentLength: length, Body: body}, nil
				})
				answer, err := relay.New(relay.Options{Transport: gateway}).Do(t.Context(), &relay.Call{
					Function: &settings.Function{App: new(app.Function), Target: upstream}, Method: "GET", Way: relay.Proxied,
					Credentials: &relay.Credentials{Tokens: namedTokens("t")},
				})
				if err != nil {
					t.Fatal(err)
				}
				_ = writeAnswer(w, answer)
				_ = answer.Close()
				if diff := cmp.Diff(c.want, w.seen); diff != "" {
					t.Errorf("%s, length %d:\n%s", name, length, diff)
				}
				seen := len(w.seen)
				if time.Sleep(time.Minute); len(w.seen) > seen {
					t.Errorf("%s: flushed when the call was over", name)
				}
			})
		}
	}
}
