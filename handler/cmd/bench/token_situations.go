//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"

	"apimrelay/handler/internal/identity"
	"apimrelay/handler/internal/token"
)

const (
	day      = 24 * time.Hour
	nearEnd  = 5*time.Minute + 2*time.Second // azidentity asks again from five minutes before the end
	tillThen = 3 * time.Second
)

// situations are those of a token's life, in the order of the table.
func situations() []row {
	rows := []row{
		{name: "warm path", alone: true, measure: warm},
		{name: "100 callers, cold", alone: true, measure: cold(100)},
		{name: "10,000 callers, cold", alone: true, measure: cold(10_000)},
		{name: "refresh point, 50 callers, endpoint takes 1 s", alone: true, measure: refreshPoint},
		{name: "refresh_in reached, 8 callers, endpoint takes 2 s", measure: refreshIn},
		{name: "refresh_in reached, endpoint answers 500, 1 call", measure: inHand(goodUntilRefreshIn(day, 1), status(http.StatusInternalServerError, ""), "")},
	}
	for _, bad := range []struct {
		name   string
		answer answer
		brings string // what a token from it is
	}{
		{"takes 8 s", good(day, 8*time.Second), "a new "},
		{"answers 500", status(http.StatusInternalServerError, ""), ""},
		{"hangs", hang, ""},
		{"answers 429, Retry-After 20", status(http.StatusTooManyRequests, "20"), "the bad "},
		{"answers HTML", html, "the bad "},
		{"answers an empty token", empty, "the bad "},
		{"answers an expired token", expired, "the bad "},
		{"answers another tenant's token", otherTenant, "the bad "},
	} {
		rows = append(rows,
			row{name: "endpoint " + bad.name + ", token good for 5 min", measure: inHand(good(nearEnd, 0), bad.answer, bad.brings)},
			row{name: "endpoint " + bad.name + ", no token", measure: withoutToken(bad.answer, bad.brings)})
	}
	return append(rows,
		row{name: "endpoint back, first call after the cool-down", measure: back},
		row{name: "refresh brings the same token, 20 calls", measure: sameToken},
		row{name: "wall clock across the refresh point, 50 callers", measure: moved(13 * time.Hour)},
		row{name: "wall clock across the end, 50 callers", measure: moved(25 * time.Hour)},
		row{name: "50 callers, cold, the first gives up", measure: leaderGone},
		row{name: "gateway refused the token, 20 callers", measure: refusedByGateway},
		row{name: "the same again within a minute", measure: refusedTwice},
		row{name: "HTTP_PROXY set, endpoint not on loopback", measure: proxied},
		row{name: "two functions, one identity and resource, cold", measure: twoFunctions},
		row{name: "Azure CLI, 3 calls", measure: azureCLI},
	)
}

func warm(ctx context.Context, e *endpoint) (string, string, error) {
	res := e.resource(good(day, 0))
	b, err := bare(res)
	if err != nil {
		return "", "", err
	}
	s, err := ours(res, nil)
	if err != nil {
		return "", "", err
	}
	measure := func(get getter) string {
		if _, err := get(ctx); err != nil {
			return err.Error()
		}
		var r testing.BenchmarkResult
		for range 3 { // the quietest of three: other work on the machine only adds
			again := testing.Benchmark(func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if _, err := get(ctx); err != nil {
						b.Fatal(err)
					}
				}
			})
			if r.N == 0 || again.NsPerOp() < r.NsPerOp() {
				r = again
			}
		}
		return fmt.Sprintf("%d ns, %s", r.NsPerOp(), count(int(r.AllocsPerOp()), "allocation"))
	}
	return measure(b), measure(s.Token), nil
}

// pairOf makes both, each with a resource of its own.
func pairOf(e *endpoint, bareAnswer, oursAnswer answer, c *clock) (b getter, br *resource, s *token.Source, sr *resource, err error) {
	br, sr = e.resource(bareAnswer), e.resource(oursAnswer)
	b, err = bare(br)
	if err == nil {
		s, err = ours(sr, c)
	}
	return b, br, s, sr, err
}

func cold(n int) func(context.Context, *endpoint) (string, string, error) {
	return func(ctx context.Context, e *endpoint) (string, string, error) {
		b, br, s, sr, err := pairOf(e, good(day, 300*time.Millisecond), good(day, 300*time.Millisecond), nil)
		if err != nil {
			return "", "", err
		}
		tell := func(c crowd, res *resource) string {
			return join(count(res.requests(), "request"), fmt.Sprintf("%d served", c.served), "longest wait "+short(c.longest()))
		}
		sc := call(ctx, n, s.Token)
		told := tell(sc, sr)
		return tell(call(ctx, n, b), br), told, nil
	}
}

// hold gets a token into each hand and goes to the refresh point.
func hold(ctx context.Context, b getter, br *resource, s *token.Source, sr *resource, c *clock) (bareHas, oursHas string, err error) {
	if bareHas, err = b(ctx); err != nil {
		return "", "", err
	}
	if oursHas, err = s.Token(ctx); err != nil {
		return "", "", err
	}
	br.requests()
	sr.requests()
	c.move(13 * time.Hour)
	if !pause(ctx, tillThen) {
		return "", "", ctx.Err()
	}
	return bareHas, oursHas, nil
}

// settled waits until the background refresh has ended.
func settled(ctx context.Context, s *token.Source) {
	for s.State().Fetching && pause(ctx, time.Millisecond) {
	}
}

func refreshPoint(ctx context.Context, e *endpoint) (string, string, error) {
	var c clock
	b, br, s, sr, err := pairOf(e, good(nearEnd, 0), good(day, 0), &c)
	if err != nil {
		return "", "", err
	}
	if _, _, err := hold(ctx, b, br, s, sr, &c); err != nil {
		return "", "", err
	}
	br.say(good(nearEnd, time.Second))
	sr.say(good(day, time.Second))
	sc := call(ctx, 50, s.Token)
	settled(ctx, s)
	bc := call(ctx, 50, b)
	tell := func(c crowd, res *resource) string {
		return join(count(res.requests(), "request"), "p99 "+short(c.p99()))
	}
	return tell(bc, br), tell(sc, sr), nil
}

func refreshIn(ctx context.Context, e *endpoint) (string, string, error) {
	var c clock
	b, br, s, sr, err := pairOf(e, goodUntilRefreshIn(day, 1), goodUntilRefreshIn(day, 3600), &c)
	if err != nil {
		return "", "", err
	}
	if _, _, err := hold(ctx, b, br, s, sr, &c); err != nil {
		return "", "", err
	}
	br.say(good(day, 2*time.Second))
	sr.say(good(day, 2*time.Second))
	sc := call(ctx, 8, s.Token)
	settled(ctx, s)
	bc := call(ctx, 8, b)
	tell := func(c crowd, res *resource) string {
		return join(count(res.requests(), "request"), "longest wait "+short(c.longest()))
	}
	return tell(bc, br), tell(sc, sr), nil
}

// inHand: the endpoint goes bad at the refresh point, with a token in hand that is good for minutes. first is what azidentity was given.
func inHand(first, bad answer, brings string) func(context.Context, *endpoint) (string, string, error) {
	return func(ctx context.Context, e *endpoint) (string, string, error) {
		var c clock
		b, br, s, sr, err := pairOf(e, first, good(day, 0), &c)
		if err != nil {
			return "", "", err
		}
		bareHas, oursHas, err := hold(ctx, b, br, s, sr, &c)
		if err != nil {
			return "", "", err
		}
		c.move(11*time.Hour - 5*time.Minute)
		br.say(bad)
		sr.say(bad)
		tell := func(has, got, text string) string {
			if got == has {
				return "token in hand" + strings.TrimPrefix(text, "token")
			}
			if got != "" {
				return brings + text
			}
			return text
		}
		got, text := once(ctx, 2*token.Deadline, s.Token)
		told := tell(oursHas, got, text)
		got, text = once(ctx, 12*time.Second, b)
		return tell(bareHas, got, text), told, nil
	}
}

// withoutToken: the endpoint is bad from the start.
func withoutToken(bad answer, brings string) func(context.Context, *endpoint) (string, string, error) {
	return func(ctx context.Context, e *endpoint) (string, string, error) {
		b, _, s, _, err := pairOf(e, bad, bad, nil)
		if err != nil {
			return "", "", err
		}
		var told string
		var wg sync.WaitGroup
		wg.Go(func() {
			var got string
			if got, told = once(ctx, 2*token.Deadline, s.Token); got != "" {
				told = brings + told
			}
		})
		got, text := once(ctx, 12*time.Second, b)
		wg.Wait()
		if got != "" {
			text = brings + text
		}
		return text, told, nil
	}
}

func back(ctx context.Context, e *endpoint) (string, string, error) {
	b, br, s, sr, err := pairOf(e, status(http.StatusServiceUnavailable, ""), status(http.StatusServiceUnavailable, ""), nil)
	if err != nil {
		return "", "", err
	}
	var oursErr error
	var wg sync.WaitGroup
	wg.Go(func() { _, oursErr = s.Token(ctx) })
	_, bareErr := b(ctx)
	wg.Wait()
	br.say(good(day, 0))
	sr.say(good(day, 0))
	var e2 *token.Error
	if bareErr == nil || !errors.As(oursErr, &e2) {
		return "", "", fmt.Errorf("want two failures first, got %v and %v", bareErr, oursErr)
	}
	pause(ctx, e2.RetryAfter)
	_, bareText := once(ctx, time.Second, b)
	_, oursText := once(ctx, time.Second, s.Token)
	return bareText, join(oursText, "cool-down was "+short(e2.RetryAfter)), nil
}

func sameToken(ctx context.Context, e *endpoint) (string, string, error) {
	var c clock
	b, br, s, sr, err := pairOf(e, same(nearEnd), same(day), &c)
	if err != nil {
		return "", "", err
	}
	if _, _, err := hold(ctx, b, br, s, sr, &c); err != nil {
		return "", "", err
	}
	for range 20 {
		_, errB := b(ctx)
		_, errS := s.Token(ctx)
		if err := errors.Join(errB, errS); err != nil {
			return "", "", err
		}
		settled(ctx, s)
	}
	return count(br.requests(), "request"), count(sr.requests(), "request"), nil
}

func moved(by time.Duration) func(context.Context, *endpoint) (string, string, error) {
	return func(ctx context.Context, e *endpoint) (string, string, error) {
		var c clock
		res := e.resource(nil)
		res.say(func(_ int, w http.ResponseWriter, _ *http.Request) {
			life := time.Until(c.now().Add(day))
			send(w, jwt(tenantID, life), life, 0)
		})
		s, err := ours(res, &c)
		if err != nil {
			return "", "", err
		}
		if _, err := s.Token(ctx); err != nil {
			return "", "", err
		}
		res.requests()
		c.move(by)
		got := call(ctx, 50, s.Token)
		settled(ctx, s)
		return "(its clock cannot be moved)", join(count(res.requests(), "request"), fmt.Sprintf("%d served", got.served), "longest wait "+short(got.longest())), nil
	}
}

func leaderGone(ctx context.Context, e *endpoint) (string, string, error) {
	b, br, s, sr, err := pairOf(e, good(day, time.Second), good(day, time.Second), nil)
	if err != nil {
		return "", "", err
	}
	measure := func(get getter, res *resource) string {
		leader, leave := context.WithCancel(ctx)
		var wg sync.WaitGroup
		wg.Go(func() { _, _ = get(leader) })
		pause(ctx, 100*time.Millisecond)
		wg.Go(func() {
			pause(ctx, 100*time.Millisecond)
			leave()
		})
		c := call(ctx, 49, get)
		wg.Wait()
		return join(count(res.requests(), "request"), fmt.Sprintf("%d of 49 served", c.served))
	}
	return measure(b, br), measure(s.Token, sr), nil
}

func refusedByGateway(ctx context.Context, e *endpoint) (string, string, error) {
	bareText, oursText, _, err := refusal(ctx, e)
	return bareText, oursText, err
}

func refusedTwice(ctx context.Context, e *endpoint) (string, string, error) {
	_, _, again, err := refusal(ctx, e)
	return "0 requests, the same token", again, err
}

func refusal(ctx context.Context, e *endpoint) (bareText, oursText, again string, err error) {
	b, br, s, sr, err := pairOf(e, good(day, 100*time.Millisecond), good(day, 100*time.Millisecond), nil)
	if err != nil {
		return "", "", "", err
	}
	bareHas, errB := b(ctx)
	oursHas, errS := s.Token(ctx)
	if err := errors.Join(errB, errS); err != nil {
		return "", "", "", err
	}
	br.requests()
	sr.requests()
	call(ctx, 20, b)
	bareHas2, err := b(ctx)
	if err != nil {
		return "", "", "", err
	}
	tell := func(n int, differs bool) string {
		if differs {
			return join(count(n, "request"), "a new token")
		}
		return join(count(n, "request"), "the same token")
	}
	bareText = tell(br.requests(), bareHas2 != bareHas)
	renew := func(refused string) getter {
		return func(ctx context.Context) (string, error) { return s.Renew(ctx, refused) }
	}
	c := call(ctx, 20, renew(oursHas))
	n := sr.requests()
	now, err := s.Token(ctx)
	if err != nil {
		return "", "", "", err
	}
	oursText = join(tell(n, now != oursHas), fmt.Sprintf("%d of 20 may replay", c.served))
	c = call(ctx, 20, renew(now))
	return bareText, oursText, join(count(sr.requests(), "request"), fmt.Sprintf("%d of 20 may replay", c.served)), nil
}

// proxied runs each in a process of its own: net/http reads HTTP_PROXY once.
func proxied(ctx context.Context, _ *endpoint) (string, string, error) {
	measure := func(who string) (string, error) {
		var mu sync.Mutex
		seen, header := 0, false
		proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			mu.Lock()
			defer mu.Unlock()
			seen++
			header = header || r.Header.Get("X-IDENTITY-HEADER") != ""
			good(day, 0)(1, w, r)
		}))
		defer proxy.Close()
		exe, err := os.Executable()
		if err != nil {
			return "", err
		}
		cmd := exec.CommandContext(ctx, exe, "token", "-behind-proxy", who)
		cmd.Env = []string{"HTTP_PROXY=" + proxy.URL, "IDENTITY_ENDPOINT=http://identity.invalid/msi/token", "IDENTITY_HEADER=bench", "HOME=" + os.Getenv("HOME")}
		if out, err := cmd.CombinedOutput(); err != nil {
			return "", fmt.Errorf("%s behind a proxy: %w: %s", who, err, out)
		}
		mu.Lock()
		defer mu.Unlock()
		switch {
		case seen == 0:
			return "goes direct", nil
		case header:
			return "goes through the proxy, IDENTITY_HEADER too", nil
		}
		return "goes through the proxy", nil
	}
	b, errB := measure("azidentity")
	s, errS := measure("source")
	return b, s, errors.Join(errB, errS)
}

// behindProxy asks once. The endpoint's host does not exist: only a proxy answers for it.
func behindProxy(ctx context.Context, who string) int {
	ctx, cancel := context.WithTimeout(ctx, 8*time.Second)
	defer cancel()
	res := &resource{name: "api://bench"}
	if who == "azidentity" {
		if b, err := bare(res); err == nil {
			_, _ = b(ctx)
			return 0
		}
		return 1
	}
	s, err := ours(res, nil)
	if err != nil {
		return 1
	}
	_, _ = s.Token(ctx)
	return 0
}

func twoFunctions(ctx context.Context, e *endpoint) (string, string, error) {
	br, sr := e.resource(good(day, 300*time.Millisecond)), e.resource(good(day, 300*time.Millisecond))
	b1, err1 := bare(br)
	b2, err2 := bare(br)
	parsed, _, err3 := identity.Parse(connection)
	if err := errors.Join(err1, err2, err3); err != nil {
		return "", "", err
	}
	sources := identity.Sources{Env: identity.Env{Lookup: os.LookupEnv}}
	s1, s2 := sources.Source(parsed, sr.name, tenantID), sources.Source(parsed, sr.name, tenantID)
	measure := func(one, two getter, res *resource) string {
		var wg sync.WaitGroup
		wg.Go(func() { _, _ = one(ctx) })
		wg.Go(func() { _, _ = two(ctx) })
		wg.Wait()
		return count(res.requests(), "request")
	}
	return measure(b1, b2, br), measure(s1.Token, s2.Token, sr), nil
}

// azureCLI runs a pretended az that counts its runs.
func azureCLI(ctx context.Context, _ *endpoint) (string, string, error) {
	dir, err := os.MkdirTemp("", "bench")
	if err != nil {
		return "", "", err
	}
	defer os.RemoveAll(dir)
	log := filepath.Join(dir, "log")
	script := fmt.Sprintf("#!/bin/sh\necho run >>%s\nsleep 0.5\necho '{\"accessToken\":\"%s\",\"expires_on\":%d}'\n", log, jwt(tenantID, time.Hour), time.Now().Add(time.Hour).Unix())
	if err := os.WriteFile(filepath.Join(dir, "az"), []byte(script), 0o755); err != nil {
		return "", "", err
	}
	if err := os.Setenv("PATH", dir+string(os.PathListSeparator)+os.Getenv("PATH")); err != nil {
		return "", "", err
	}
	cred, err := azidentity.NewAzureCLICredential(nil)
	b, err := bareOf(cred, err, &resource{name: "api://bench"})
	if err != nil {
		return "", "", err
	}
	parsed, _, err := identity.Parse("RunAs=Developer;DeveloperTool=AzureCli")
	if err != nil {
		return "", "", err
	}
	var sources identity.Sources
	s := sources.Source(parsed, "api://bench", tenantID)
	measure := func(get getter) (string, error) {
		_ = os.Remove(log)
		begin := time.Now()
		for range 3 {
			if _, err := get(ctx); err != nil {
				return "", err
			}
		}
		runs, err := os.ReadFile(log)
		return join("az runs "+count(strings.Count(string(runs), "run"), "time"), short(time.Since(begin))), err
	}
	bareText, errB := measure(b)
	oursText, errS := measure(s.Token)
	return bareText, oursText, errors.Join(errB, errS)
}
