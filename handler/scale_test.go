package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"apimrelay/handler/internal/relay"
	"apimrelay/handler/internal/secret"
	"apimrelay/handler/internal/token"
)

// An app on a thousand instances, in virtual time: the real token sources and relays of all of them against one gateway and one identity service.
const (
	fleetSize = 1000
	callEvery = 5 * time.Second // of each instance; half of the calls are events
)

// fleet is the instances and the two services, with what these saw in each second since the beginning.
type fleet struct {
	t         *testing.T
	began     time.Time
	instances []*instance

	mu                        sync.Mutex
	offered, attempts, tokens []int
	failed                    []time.Duration // when calls failed
	answered                  int

	// The services' condition.
	down        bool      // the gateway: nobody listens
	badPrimary  bool      // the primary key was regenerated
	serial      int       // of the token that the identity service has in its cache
	tokenEnd    time.Time // of that token
	tokenLife   time.Duration
	freshBefore time.Duration // so long before its end the service has another
}

type instance struct {
	fleet    *fleet
	relay    *relay.Relay
	function *relay.Function
	calls    int
}

func newFleet(t *testing.T, tokenLife time.Duration) *fleet {
	f := &fleet{t: t, began: time.Now(), tokenLife: tokenLife, tokenEnd: time.Now().Add(tokenLife), freshBefore: 10 * time.Minute}
	target, err := relay.ParseTarget("https://gateway.example/orders")
	if err != nil {
		t.Fatal(err)
	}
	for range fleetSize {
		source := token.NewSource(token.Options{Fetch: f.fetch, Resource: "api://orders", Now: time.Now, Spread: rand.Float64()})
		f.instances = append(f.instances, &instance{fleet: f,
			relay: relay.New(relay.Options{
				Transport: f,
				Problem:   func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) },
			}),
			function: &relay.Function{
				Name: "orders", Target: target, KeyHeader: relay.DefaultKeyHeader, Attempts: 3, Tokens: source,
				Keys: relay.NewKeys(relay.DefaultKeyHeader, secret.New("primary"), secret.New("secondary")),
			},
		})
	}
	return f
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
	if time.Until(f.tokenEnd) < f.freshBefore {
		f.serial, f.tokenEnd = f.serial+1, time.Now().Add(f.tokenLife)
	}
	return token.Token{Value: fmt.Sprintf("token.%d.%d", f.serial, f.tokenEnd.Unix()), ExpiresOn: f.tokenEnd}, ctx.Err()
}

var errRefused = errors.New("connect: connection refused")

// RoundTrip is the gateway.
func (f *fleet) RoundTrip(r *http.Request) (*http.Response, error) {
	f.mu.Lock()
	f.count(&f.attempts)
	down, badPrimary := f.down, f.badPrimary
	f.mu.Unlock()
	if down {
		return nil, errRefused
	}
	time.Sleep(20*time.Millisecond + rand.N(60*time.Millisecond))
	status, body := http.StatusOK, `{"ok":true}`
	var serial, end int64
	_, err := fmt.Sscanf(r.Header.Get("Authorization"), "Bearer token.%d.%d", &serial, &end)
	switch {
	case r.Header.Get(relay.DefaultKeyHeader) == "primary" && badPrimary:
		status = http.StatusUnauthorized
		body = `{ "statusCode": 401, "message": "Access denied due to invalid subscription key. Make sure to provide a valid key for an active subscription." }`
	case err != nil || time.Now().After(time.Unix(end, 0)):
		status, body = http.StatusUnauthorized, `{ "statusCode": 401, "message": "Unauthorized. Access token is missing or invalid." }`
	}
	return &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body)), ContentLength: int64(len(body)), Request: r}, nil
}

// run lets every instance call for a while: events, which the host repeats when they fail, and requests of callers, in turns.
func (f *fleet) run(d time.Duration) {
	var wg sync.WaitGroup
	for _, i := range f.instances {
		wg.Go(func() {
			time.Sleep(rand.N(callEvery))
			for end := f.began.Add(d); time.Now().Before(end); time.Sleep(callEvery/2 + rand.N(callEvery)) {
				wg.Go(i.call)
			}
		})
	}
	wg.Wait()
}

func (i *instance) call() {
	f := i.fleet
	f.mu.Lock()
	f.count(&f.offered)
	i.calls++
	event := i.calls%2 == 0
	f.mu.Unlock()
	call := &relay.Call{Function: i.function, Budget: 30 * time.Second, Way: relay.Forwarded}
	status := 0
	if event {
		call.Way = relay.Event
		body := strings.NewReader(`{"order":1}`)
		r := &http.Request{Method: "POST", Header: http.Header{}, Body: io.NopCloser(body), ContentLength: int64(body.Len())}
		r.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(`{"order":1}`)), nil }
		if res, err := i.relay.Do(r.WithContext(context.WithValue(context.Background(), relay.CallKey{}, call))); err == nil {
			status = res.StatusCode
			_ = res.Body.Close()
		}
	} else {
		r := httptest.NewRequest("GET", "/api/orders", nil)
		w := httptest.NewRecorder()
		i.relay.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), relay.CallKey{}, call)))
		status = w.Code
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.answered++
	if status != http.StatusOK {
		f.failed = append(f.failed, time.Since(f.began))
	}
}

// between sums up the seconds from one to another, the last excluded.
func between(seconds []int, from, to time.Duration) (sum, most int) {
	for s := int(from / time.Second); s < min(int(to/time.Second), len(seconds)); s++ {
		sum, most = sum+seconds[s], max(most, seconds[s])
	}
	return sum, most
}

// print writes what the services saw, by minutes.
func (f *fleet) print(name string, d time.Duration) {
	total := 0
	for _, n := range f.offered {
		total += n
	}
	f.t.Logf("%s: %d calls, %d answered, %d of them with a failure", name, total, f.answered, len(f.failed))
	f.t.Logf("| minute | offered/s | attempts/s | most in a second | ratio | token requests | most in a second |")
	f.t.Logf("| --- | --- | --- | --- | --- | --- | --- |")
	for from := time.Duration(0); from < d; from += time.Minute {
		to := from + time.Minute
		offered, _ := between(f.offered, from, to)
		attempts, most := between(f.attempts, from, to)
		tokens, mostTokens := between(f.tokens, from, to)
		f.t.Logf("| %d | %.0f | %.0f | %d | %.2f | %d | %d |", from/time.Minute, float64(offered)/60, float64(attempts)/60, most,
			float64(attempts)/float64(max(offered, 1)), tokens, mostTokens)
	}
	if f.answered != total {
		f.t.Errorf("%d calls, %d answers: want one for each", total, f.answered)
	}
}

// noFailure is for times in which nothing is wrong that the relay cannot mend.
func (f *fleet) noFailure() {
	if len(f.failed) > 0 {
		f.t.Errorf("%d calls failed, the first after %s: want none", len(f.failed), f.failed[0])
	}
}

// spreadTokens wants no second with token requests of more than a twentieth of the fleet.
func (f *fleet) spreadTokens(from, to time.Duration) {
	if _, most := between(f.tokens, from, to); most > fleetSize/20 {
		f.t.Errorf("%d token requests in one second after the cold start: want %d at most", most, fleetSize/20)
	}
}

func TestScale(t *testing.T) {
	if testing.Short() {
		t.Skip("takes ten seconds")
	}
	const coldStart = 10 * time.Second
	t.Run("cold start of all at once", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			const d = 2 * time.Minute
			f := newFleet(t, 24*time.Hour)
			for _, i := range f.instances {
				for range 8 { // callers who are waiting already
					go i.call()
				}
			}
			f.run(d)
			f.print("cold start", d)
			f.noFailure()
			if n, _ := between(f.tokens, 0, d); n != fleetSize {
				t.Errorf("%d token requests: want one for each of %d instances", n, fleetSize)
			}
			f.spreadTokens(coldStart, d)
		})
	})
	t.Run("a gateway is away for five minutes", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			const away, back, d = 2 * time.Minute, 7 * time.Minute, 10 * time.Minute
			f := newFleet(t, 24*time.Hour)
			time.AfterFunc(away, func() { f.mu.Lock(); f.down = true; f.mu.Unlock() })
			time.AfterFunc(back, func() { f.mu.Lock(); f.down = false; f.mu.Unlock() })
			f.run(d)
			f.print("outage", d)
			for _, at := range f.failed {
				// The last wait before a retry is a second at most.
				if at < away || at > back+2*time.Second {
					t.Errorf("a call failed after %s: want failures only while the gateway is away", at)
					break
				}
			}
			offered, _ := between(f.offered, 0, d)
			attempts, _ := between(f.attempts, 0, d)
			if float64(attempts) > 1.2*float64(offered) {
				t.Errorf("%d attempts for %d calls: want 1.2 for each at most", attempts, offered)
			}
			// Each instance has saved ten retries at most, and earns a fifth for each call: up to any second of the outage no more than that.
			for s := away + time.Second; s <= back; s += time.Second {
				offered, _ := between(f.offered, away, s)
				attempts, _ := between(f.attempts, away, s)
				if most := 1.2*float64(offered) + 10*fleetSize; float64(attempts) > most {
					t.Errorf("%d attempts for %d calls, %s after the gateway went: want %.0f at most", attempts, offered, s-away, most)
					break
				}
			}
			// With the savings spent, what is earned is all there is. An instance may have kept less than a whole one.
			offered, _ = between(f.offered, back-2*time.Minute, back)
			attempts, _ = between(f.attempts, back-2*time.Minute, back)
			if float64(attempts) > 1.2*float64(offered)+fleetSize/4 {
				t.Errorf("%d attempts for %d calls in the last two minutes: want 1.2 for each at most", attempts, offered)
			}
			_, usual := between(f.attempts, coldStart, away)
			if _, most := between(f.attempts, back, back+time.Minute); float64(most) > 1.2*float64(usual) {
				t.Errorf("%d attempts in one second after the gateway's return: want %d, as before, and a fifth at most", most, usual)
			}
			f.spreadTokens(coldStart, d)
		})
	})
	t.Run("the primary key is regenerated", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			const rotated, d = time.Minute, 3 * time.Minute
			f := newFleet(t, 24*time.Hour)
			time.AfterFunc(rotated, func() { f.mu.Lock(); f.badPrimary = true; f.mu.Unlock() })
			f.run(d)
			f.print("key rotation", d)
			f.noFailure()
			offered, _ := between(f.offered, 0, d)
			attempts, _ := between(f.attempts, 0, d)
			if extra := attempts - offered; extra < fleetSize*9/10 || extra > fleetSize*11/10 {
				t.Errorf("%d attempts beyond one for each call: want about one for each of %d instances", extra, fleetSize)
			}
			_, usual := between(f.attempts, coldStart, rotated)
			if _, most := between(f.attempts, rotated, d); most > 2*usual+fleetSize/20 {
				t.Errorf("%d attempts in one second after the rotation, %d before", most, usual)
			}
			f.spreadTokens(coldStart, d)
		})
	})
	t.Run("all have a token with the same end", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			const d = 12 * time.Minute
			f := newFleet(t, 10*time.Minute)
			f.freshBefore = 6 * time.Minute
			f.run(d)
			f.print("shared expiry", d)
			f.noFailure()
			f.spreadTokens(coldStart, d)
			if n, _ := between(f.tokens, 0, d); n < 2*fleetSize {
				t.Errorf("%d token requests: want %d at least, or nobody renewed", n, 2*fleetSize)
			}
		})
	})
}
