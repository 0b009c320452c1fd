package token_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"apimrelay/handler/internal/token"
)

const (
	tenant   = "aaaaaaaa-0000-0000-0000-000000000000"
	resource = "api://orders"
)

// fake is an identity in memory. It records when it was asked.
type fake struct {
	t      *testing.T
	mu     sync.Mutex
	asked  []time.Time
	answer func(ctx context.Context, n int) (token.Token, error) // n counts from 1
}

func (f *fake) fetch(ctx context.Context) (token.Token, error) {
	f.mu.Lock()
	f.asked = append(f.asked, time.Now())
	n, answer := len(f.asked), f.answer
	f.mu.Unlock()
	return answer(ctx, n)
}

func (f *fake) say(answer func(ctx context.Context, n int) (token.Token, error)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.answer = answer
}

// wantAsked asserts how often the identity was asked so far.
func (f *fake) wantAsked(want int) {
	f.t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.asked) != want {
		f.t.Fatalf("the identity was asked %d times, want %d: %v", len(f.asked), want, f.asked)
	}
}

// tokens answers each request with a new token of the given life, after a delay.
func tokens(life, delay time.Duration) func(context.Context, int) (token.Token, error) {
	return func(ctx context.Context, n int) (token.Token, error) {
		if err := sleep(ctx, delay); err != nil {
			return token.Token{}, err
		}
		return made(n, life), nil
	}
}

// made is the n-th token, a JWT.
func made(n int, life time.Duration) token.Token {
	end := time.Now().Add(life)
	return token.Token{Value: jwt(map[string]any{"tid": tenant, "n": n, "exp": end.Unix()}),
		ExpiresOn: end}
}

func failing(err error) func(context.Context, int) (token.Token, error) {
	return func(context.Context, int) (token.Token, error) { return token.Token{}, err }
}

func hanging(ctx context.Context, _ int) (token.Token, error) {
	<-ctx.Done()
	return token.Token{}, ctx.Err()
}

var errDown = &token.Error{Kind: token.Unavailable, Err: errors.New("connection refused")}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func jwt(claims map[string]any) string {
	enc := func(v any) string {
		b, err := json.Marshal(v)
		if err != nil {
			panic(err)
		}
		return base64.RawURLEncoding.EncodeToString(b)
	}
	return enc(map[string]string{"alg": "none"}) + "." + enc(claims) + ".c2ln"
}

// open makes a source in virtual time over the fake.
func open(t *testing.T, answer func(context.Context, int) (token.Token, error)) (*token.Source,
	*fake) {
	f := &fake{t: t, answer: answer}
	return token.NewSource(token.Options{Fetch: f.fetch, TenantID: tenant, Resource: resource,
		Now: time.Now}), f
}

// must returns the token, which must be there.
func must(t *testing.T, s *token.Source) string {
	t.Helper()
	v, err := s.Token(t.Context())
	if err != nil {
		t.Fatalf("Token: %v", err)
	}
	return v
}

// atOnce returns the token, which must be there without waiting.
func atOnce(t *testing.T, s *token.Source) string {
	t.Helper()
	begin := time.Now()
	v := must(t, s)
	if d := time.Since(begin); d != 0 {
		t.Fatalf("Token took %s, want no waiting", d)
	}
	return v
}

// mustFail returns the error, which must be there within the deadline.
func mustFail(t *testing.T, s *token.Source, want error) error {
	t.Helper()
	begin := time.Now()
	v, err := s.Token(t.Context())
	if err == nil {
		t.Fatalf("Token: got %q, want an error", v)
	}
	if !errors.Is(err, want) {
		t.Fatalf("Token: got error %v, want one that is %v", err, want)
	}
	if d := time.Since(begin); d > token.Deadline {
		t.Fatalf("Token failed after %s, want %s at most", d, token.Deadline)
	}
	var e *token.Error
	if !errors.As(err, &e) {
		t.Fatalf("Token: got error %T, want *token.Error", err)
	}
	return err
}

// crowd calls Token from n goroutines at once and returns how many got which token, and the longest
// wait.
func crowd(t *testing.T, s *token.Source, n int) (got map[string]int, longest time.Duration) {
	t.Helper()
	var mu sync.Mutex
	var wg sync.WaitGroup
	got = map[string]int{}
	for range n {
		wg.Go(func() {
			begin := time.Now()
			v, err := s.Token(context.Background())
			if err != nil {
				v = fmt.Sprint("error: ", err)
			}
			mu.Lock()
			defer mu.Unlock()
			got[v]++
			longest = max(longest, time.Since(begin))
		})
	}
	wg.Wait()
	return got, longest
}
