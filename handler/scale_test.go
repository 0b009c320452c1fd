package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"apimrelay/handler/internal/app"
	"apimrelay/handler/internal/header"
	"apimrelay/handler/internal/relay"
	"apimrelay/handler/internal/settings"
	"apimrelay/handler/internal/target"
	"apimrelay/handler/internal/token"
	"apimrelay/internal/secret"
)

// An app on a thousand instances, in virtual time: the real token sources and relays of all of them against one gateway and one identity service.
const (
	thousand = 1000
	// An app that has come to a thousand instances has busy ones.
	busy  = time.Second // from one call of an instance to the next; half of the calls are events
	quiet = 5 * time.Second
	// mostAttempts is how many there may be for each call, in any minute.
	mostAttempts = 1.2
)

var scaleFull = flag.Bool("scale.full", false, "a thousand busy instances in every situation; else fewer, or less busy ones, which take a sixth of the time")

// instances is the size of a fleet of busy ones: in a smaller one of quiet ones chance alone makes waves.
func instances() int {
	if *scaleFull {
		return thousand
	}
	return thousand / 5
}

// fleet is the instances and the two services, with what these saw in each second since the beginning.
type fleet struct {
	t         *testing.T
	began     time.Time
	every     time.Duration // a call of each instance
	instances []*instance

	mu                              sync.Mutex
	calls, failed, attempts, tokens []int // failed by when they ended
	answered, served                int   // calls that ended; answers of the gateway that were 200
	failedEvents                    int
	unexplained                     int // failures that were not the gateway's

	// The services' condition.
	down        bool    // the gateway: nobody listens
	flaky       float64 // the share of requests that it answers with 503
	badPrimary  bool    // the primary key was regenerated
	ends        map[string]time.Time
	token       string // that the identity service has in its cache
	tokenLife   time.Duration
	freshBefore time.Duration // so long before its end the service has another
}

type instance struct {
	fleet       *fleet
	relay       *relay.Relay
	function    *settings.Function
	credentials *relay.Credentials
	calls       int
}

func newFleet(t *testing.T, size int, every, tokenLife time.Duration) *fleet {
	f := &fleet{t: t, began: time.Now(), every: every, tokenLife: tokenLife, ends: make(map[string]time.Time), freshBefore: 10 * time.Minute}
	upstream, err := target.Parse("https://gateway.example/orders")
	if err != nil {
		t.Fatal(err)
	}
	for range size {
		source := token.NewSource(token.Options{Fetch: f.fetch, Resource: "api://orders", Now: time.Now, Spread: rand.Float64()})
		f.instances = append(f.instances, &instance{fleet: f,
			relay: relay.New(relay.Options{Transport: f}),
			function: &settings.Function{
				App: &app.Function{Name: "orders"}, Target: upstream, KeyHeader: header.DefaultKey, Attempts: 3,
			},
			credentials: &relay.Credentials{
				Tokens: source, Keys: relay.NewKeys(header.DefaultKey, secret.New("primary"), secret.New("secondary")),
			},
		})
	}
	return f
}

// status is what a caller gets whose request could not be relayed; 500 is for what was not the
// gateway's doing.
func status(err error) int {
	if _, ok := errors.AsType[*relay.GatewayError](err); ok {
		return http.StatusBadGateway
	}
	return http.StatusInternalServerError
}

// count adds one to the present second. The caller holds the mutex.
func (f *fleet) count(seconds *[]int) {
	now := int(time.Since(f.began) / time.Second)
	for len(*seconds) <= now {
		*seconds = append(*seconds, 0)
	}
	(*seconds)[now]++
}

// fetch is the identity service. It takes up to two seconds, and has the same token for everybody until shortly before that one's end.
func (f *fleet) fetch(ctx context.Context) (token.Token, error) {
	f.mu.Lock()
	f.count(&f.tokens)
	f.mu.Unlock()
	time.Sleep(100*time.Millisecond + rand.N(2*time.Second))
	f.mu.Lock()
	defer f.mu.Unlock()
	if time.Until(f.ends[f.token]) < f.freshBefore {
		f.token = fmt.Sprintf("token-%d", len(f.ends)+1)
		f.ends[f.token] = time.Now().Add(f.tokenLife)
	}
	return token.Token{Value: f.token, ExpiresOn: f.ends[f.token]}, ctx.Err()
}

var errRefused = errors.New("connect: connection refused")

// RoundTrip is the gateway.
func (f *fleet) RoundTrip(r *http.Request) (*http.Response, error) {
	f.mu.Lock()
	f.count(&f.attempts)
	down, flaky, badPrimary := f.down, f.flaky, f.badPrimary
	end := f.ends[strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")]
	f.mu.Unlock()
	if down {
		return nil, errRefused
	}
	time.Sleep(20*time.Millisecond + rand.N(60*time.Millisecond))
	status, body := http.StatusOK, `{"ok":true}`
	switch {
	case rand.Float64() < flaky:
		status, body = http.StatusServiceUnavailable, `{ "statusCode": 503, "message": "Service Unavailable" }`
	case r.Header.Get(header.DefaultKey) == "primary" && badPrimary:
		status = http.StatusUnauthorized
		body = `{ "statusCode": 401, "message": "Access denied due to invalid subscription key. Make sure to provide a valid key for an active subscription." }`
	case time.Now().After(end):
		status, body = http.StatusUnauthorized, `{ "statusCode": 401, "message": "Unauthorized. Access token is missing or invalid." }`
	default:
		f.mu.Lock()
		f.served++
		f.mu.Unlock()
	}
	return &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body)), ContentLength: int64(len(body)), Request: r}, nil
}

// run lets every instance call for a while: events, which the host repeats when they fail, and requests of callers, in turns.
func (f *fleet) run(d time.Duration) {
	var wg sync.WaitGroup
	for _, i := range f.instances {
		wg.Go(func() {
			time.Sleep(rand.N(f.every))
			for end := f.began.Add(d); time.Now().Before(end); time.Sleep(f.every/2 + rand.N(f.every)) {
				wg.Go(i.call)
			}
		})
	}
	wg.Wait()
}

func (i *instance) call() {
	f := i.fleet
	f.mu.Lock()
	f.count(&f.calls)
	i.calls++
	event := i.calls%2 == 0
	f.mu.Unlock()
	call := &relay.Call{
		Function: i.function, Credentials: i.credentials, Budget: 30 * time.Second, Way: relay.Forwarded, Method: "GET", Header: http.Header{},
	}
	if event {
		const body = `{"order":1}`
		call.Way, call.Method = relay.Event, "POST"
		call.Body = relay.Body{
			Reader: strings.NewReader(body), Length: int64(len(body)),
			Again: func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(body)), nil },
		}
	}
	code := 0
	if answer, err := i.relay.Do(context.Background(), call); err != nil {
		code = status(err)
	} else {
		code = answer.Status
		_ = answer.Close()
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.answered++
	if code == http.StatusOK {
		return
	}
	f.count(&f.failed)
	if event {
		f.failedEvents++
	}
	if code != http.StatusBadGateway && code != http.StatusServiceUnavailable {
		f.unexplained++
	}
}

// between sums up the seconds from one to another, the last excluded.
func between(seconds []int, from, to time.Duration) (sum, most int) {
	for s := int(from / time.Second); s < min(int(to/time.Second), len(seconds)); s++ {
		sum, most = sum+seconds[s], max(most, seconds[s])
	}
	return sum, most
}

// report writes what the services saw, by minutes, and wants one answer for each call: the gateway's where it had a good one, else a failure that names
// the gateway, with which the host runs an event again and a caller knows.
func (f *fleet) report(name string, d time.Duration) {
	total, _ := between(f.calls, 0, d)
	failed, _ := between(f.failed, 0, d+time.Minute)
	f.t.Logf("%s: %d instances, a call in %s each: %d calls, %d answered, %d of them with a failure (%d events, %d requests)", name,
		len(f.instances), f.every, total, f.answered, failed, f.failedEvents, failed-f.failedEvents)
	f.t.Logf("| minute | calls/s | attempts/s | attempts for each call | answered well | most attempts in a second | token requests | most token requests in a second |")
	f.t.Logf("| --- | --- | --- | --- | --- | --- | --- | --- |")
	for from := time.Duration(0); from < d; from += time.Minute {
		to := from + time.Minute
		calls, _ := between(f.calls, from, to)
		attempts, most := between(f.attempts, from, to)
		tokens, mostTokens := between(f.tokens, from, to)
		failed, _ := between(f.failed, from, to)
		f.t.Logf("| %d | %.0f | %.0f | %.2f | %.4f | %d | %d | %d |", from/time.Minute, float64(calls)/60, float64(attempts)/60,
			float64(attempts)/float64(calls), max(0, 1-float64(failed)/float64(calls)), most, tokens, mostTokens)
	}
	if f.answered != total {
		f.t.Errorf("%d calls, %d answers: want one for each", total, f.answered)
	}
	if f.served != total-failed {
		f.t.Errorf("the gateway served %d calls, and %d of %d ended well: want as many", f.served, total-failed, total)
	}
	if f.unexplained > 0 {
		f.t.Errorf("%d calls failed by themselves: want the gateway's failures alone", f.unexplained)
	}
}

// noFailure is for times in which nothing is wrong that the relay cannot mend.
func (f *fleet) noFailure() { f.failuresOnly(0, 0) }

// failuresOnly wants none outside of a time.
func (f *fleet) failuresOnly(from, to time.Duration) {
	for s, n := range f.failed {
		if at := time.Duration(s) * time.Second; n > 0 && (at < from || at >= to) {
			f.t.Errorf("%d calls failed after %s: want failures from %s to %s only", n, at, from, to)
			return
		}
	}
}

// limitAttempts wants no minute, from whichever second on, with more attempts than a fifth beyond its calls.
func (f *fleet) limitAttempts() {
	for from := time.Duration(0); int(from/time.Second)+60 <= len(f.calls); from += time.Second {
		calls, _ := between(f.calls, from, from+time.Minute)
		attempts, _ := between(f.attempts, from, from+time.Minute)
		if float64(attempts) > mostAttempts*float64(calls) {
			f.t.Errorf("%d attempts for %d calls in the minute after %s: want %.1f for each at most", attempts, calls, from, mostAttempts)
			return
		}
	}
}

// spreadTokens wants no second with token requests of more than a twentieth of the fleet.
func (f *fleet) spreadTokens(from, to time.Duration) {
	if _, most := between(f.tokens, from, to); most > len(f.instances)/20 {
		f.t.Errorf("%d token requests in one second after the cold start: want %d at most", most, len(f.instances)/20)
	}
}

// after changes the services' condition at a time.
func (f *fleet) after(d time.Duration, change func()) {
	time.AfterFunc(d, func() { f.mu.Lock(); defer f.mu.Unlock(); change() })
}

const coldStart = 10 * time.Second

func TestScale(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seven seconds")
	}
	t.Run("cold start of all at once", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			const d = 2 * time.Minute
			f := newFleet(t, instances(), busy, 24*time.Hour)
			for _, i := range f.instances {
				for range 8 { // callers who are waiting already
					go i.call()
				}
			}
			f.run(d)
			f.report("cold start", d)
			f.noFailure()
			if n, _ := between(f.tokens, 0, d); n != len(f.instances) {
				t.Errorf("%d token requests: want one for each of %d instances", n, len(f.instances))
			}
			f.limitAttempts()
			f.spreadTokens(coldStart, d)
		})
	})
	t.Run("a gateway is away for five minutes", func(t *testing.T) { outage(t, instances(), busy) })
	t.Run("a gateway is away for five minutes from instances with few calls", func(t *testing.T) { outage(t, thousand, quiet) })
	t.Run("a gateway fails one request in ten", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			const begin, end, d = time.Minute, 6 * time.Minute, 7 * time.Minute
			f := newFleet(t, instances(), busy, 24*time.Hour)
			f.after(begin, func() { f.flaky = 0.1 })
			f.after(end, func() { f.flaky = 0 })
			f.run(d)
			f.report("one request in ten fails", d)
			// Two retries, one call in a hundred needs both: 0.11 for each call, and each earns 0.2. What fails three times is one call in a thousand.
			f.failuresOnly(begin, end+2*time.Second)
			calls, _ := between(f.calls, begin, end)
			failed, _ := between(f.failed, begin, end+2*time.Second)
			t.Logf("%.4f of the calls answered well while the gateway failed", 1-float64(failed)/float64(calls))
			if float64(failed) > 0.002*float64(calls) {
				t.Errorf("%d of %d calls failed: want 2 in a thousand at most", failed, calls)
			}
			if attempts, _ := between(f.attempts, begin, end); float64(attempts) < 1.09*float64(calls) {
				t.Errorf("%d attempts for %d calls: want one more for each in ten, or the gateway did not fail", attempts, calls)
			}
			f.limitAttempts()
			f.spreadTokens(coldStart, d)
		})
	})
	t.Run("the primary key is regenerated", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			const rotated, d = time.Minute, 3 * time.Minute
			f := newFleet(t, instances(), busy, 24*time.Hour)
			f.after(rotated, func() { f.badPrimary = true })
			f.run(d)
			f.report("key rotation", d)
			f.noFailure()
			calls, _ := between(f.calls, 0, d)
			attempts, _ := between(f.attempts, 0, d)
			if extra, size := attempts-calls, len(f.instances); extra < size*9/10 || extra > size*11/10 {
				t.Errorf("%d attempts beyond one for each call: want about one for each of %d instances", extra, size)
			}
			_, usual := between(f.attempts, coldStart, rotated)
			if _, most := between(f.attempts, rotated, d); most > 2*usual+len(f.instances)/20 {
				t.Errorf("%d attempts in one second after the rotation, %d before", most, usual)
			}
			f.limitAttempts()
			f.spreadTokens(coldStart, d)
		})
	})
	t.Run("all have a token with the same end", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			const d = 12 * time.Minute
			every := busy
			if !*scaleFull {
				every = quiet // of a smaller fleet a twentieth may come in one second by chance
			}
			f := newFleet(t, thousand, every, 10*time.Minute)
			f.freshBefore = 6 * time.Minute
			f.run(d)
			f.report("shared expiry", d)
			f.noFailure()
			f.limitAttempts()
			f.spreadTokens(coldStart, d)
			if n, _ := between(f.tokens, 0, d); n < 2*thousand {
				t.Errorf("%d token requests: want %d at least, or nobody renewed", n, 2*thousand)
			}
		})
	})
}

// outage takes the gateway away for five minutes.
func outage(t *testing.T, size int, every time.Duration) {
	synctest.Test(t, func(t *testing.T) {
		const away, back, d = 2 * time.Minute, 7 * time.Minute, 10 * time.Minute
		f := newFleet(t, size, every, 24*time.Hour)
		f.after(away, func() { f.down = true })
		f.after(back, func() { f.down = false })
		f.run(d)
		f.report("outage", d)
		// The last wait before a retry is a second at most.
		f.failuresOnly(away, back+2*time.Second)
		// An instance has saved ten retries, and earns less than another one until ten attempts have failed.
		calls, _ := between(f.calls, away, back)
		attempts, _ := between(f.attempts, away, back)
		if attempts > calls+11*size {
			t.Errorf("%d attempts for %d calls during the outage: want ten for each of %d instances beyond the calls", attempts, calls, size)
		}
		if attempts < calls+9*size {
			t.Errorf("%d attempts for %d calls during the outage: want the saved retries of %d instances", attempts, calls, size)
		}
		// With those spent, each call is one attempt. One in a hundred instances may be late.
		calls, _ = between(f.calls, away+time.Minute, back)
		attempts, _ = between(f.attempts, away+time.Minute, back)
		if attempts > calls+size/100 {
			t.Errorf("%d attempts for %d calls after the outage's first minute: want one for each", attempts, calls)
		}
		// Ten retries are a sixth of what a busy instance calls in a minute. Of one that calls less they are more of its own minute, though no more for the
		// gateway; over the whole it is within the limit too.
		if every == busy {
			f.limitAttempts()
		}
		calls, _ = between(f.calls, 0, d)
		attempts, _ = between(f.attempts, 0, d)
		if float64(attempts) > mostAttempts*float64(calls) {
			t.Errorf("%d attempts for %d calls: want %.1f for each at most", attempts, calls, mostAttempts)
		}
		_, usual := between(f.attempts, coldStart, away)
		if _, most := between(f.attempts, back, d); float64(most) > mostAttempts*float64(usual) {
			t.Errorf("%d attempts in one second after the gateway's return: want %d, as before, and a fifth at most", most, usual)
		}
		f.spreadTokens(coldStart, d)
	})
}
