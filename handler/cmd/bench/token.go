//go:build linux

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"text/tabwriter"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"

	"apimrelay/handler/internal/identity"
	"apimrelay/handler/internal/token"
)

const connection = "RunAs=App;AppId=22222222-2222-2222-2222-222222222222"

// benchToken runs each situation with bare azidentity and with the token source, against one identity endpoint, and prints them side by side.
func benchToken(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("bench token", flag.ContinueOnError)
	flags.SetOutput(stderr)
	child := flags.String("behind-proxy", "", "`who` asks in a process of its own, behind a proxy: azidentity or source")
	if flags.Parse(args) != nil {
		return 2
	}
	if *child != "" {
		return behindProxy(ctx, *child)
	}
	e, err := startEndpoint()
	if err != nil {
		fmt.Fprintln(stderr, "bench token: starting an identity endpoint:", err)
		return 1
	}
	begin := time.Now()
	rows := situations()
	run := func(r *row) {
		defer func() {
			if p := recover(); p != nil {
				r.failed = fmt.Errorf("panic: %v", p)
			}
		}()
		r.bare, r.ours, r.failed = r.measure(ctx, e)
	}
	// What is measured in nanoseconds and crowds comes alone, what mostly waits together.
	var wg sync.WaitGroup
	for i := range rows {
		if rows[i].alone {
			run(&rows[i])
		}
	}
	for i := range rows {
		if !rows[i].alone {
			wg.Go(func() { run(&rows[i]) })
		}
	}
	wg.Wait()
	code := 0
	w := tabwriter.NewWriter(stdout, 0, 0, 1, ' ', tabwriter.Debug)
	fmt.Fprintln(w, "situation\t bare azidentity\t token source")
	fmt.Fprintln(w, "---------\t ---------------\t ------------")
	for _, r := range rows {
		if r.failed != nil {
			fmt.Fprintf(stderr, "bench token: %s: %v\n", r.name, r.failed)
			code = 1
		}
		fmt.Fprintf(w, "%s\t %s\t %s\n", r.name, r.bare, r.ours)
	}
	if err := w.Flush(); err != nil {
		code = 1
	}
	fmt.Fprintf(stdout, "\nazidentity v1.15.0 as it comes, managed identity unless a row says otherwise; one endpoint in this process, %s in all.\n"+
		"azidentity's clock cannot be moved: its tokens end in 5 min 2 s where a refresh point is wanted. Ours live 24 h, and its wall clock is moved.\n"+
		"A caller that would wait for ever is given 12 s. Freezing with SIGSTOP is a test of the token package.\n", time.Since(begin).Round(time.Second))
	return code
}

// row is one situation.
type row struct {
	name       string
	alone      bool
	measure    func(ctx context.Context, e *endpoint) (bare, ours string, err error)
	bare, ours string
	failed     error
}

// getter is one of the two that are compared.
type getter func(ctx context.Context) (string, error)

// bare makes the credential that the documentation shows.
func bare(res *resource) (getter, error) {
	cred, err := azidentity.NewManagedIdentityCredential(&azidentity.ManagedIdentityCredentialOptions{ID: azidentity.ClientID("22222222-2222-2222-2222-222222222222")})
	return bareOf(cred, err, res)
}

func bareOf(cred azcore.TokenCredential, err error, res *resource) (getter, error) {
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) (string, error) {
		tk, err := cred.GetToken(ctx, policy.TokenRequestOptions{Scopes: []string{res.name + "/.default"}})
		return tk.Token, err
	}, nil
}

// clock is the wall clock of our source, which can be moved.
type clock struct{ ahead atomic.Int64 }

func (c *clock) now() time.Time       { return time.Now().Add(time.Duration(c.ahead.Load())) }
func (c *clock) move(d time.Duration) { c.ahead.Add(int64(d)) }

// ours makes the token source.
func ours(res *resource, c *clock) (*token.Source, error) {
	parsed, _, err := identity.Parse(connection)
	if err != nil {
		return nil, err
	}
	fetch, err := parsed.Fetch(res.name, identity.Env{Lookup: os.LookupEnv})
	if err != nil {
		return nil, err
	}
	o := token.Options{Fetch: fetch, TenantID: tenantID, Resource: res.name}
	if c != nil {
		o.Now = c.now
	}
	return token.NewSource(o), nil
}

// crowd is what many callers saw.
type crowd struct {
	served, failed int
	kinds          int // different tokens
	waits          []time.Duration
}

// call lets n callers ask at once. Whoever would wait for ever is given 20 s.
func call(ctx context.Context, n int, get getter) crowd {
	var mu sync.Mutex
	var wg sync.WaitGroup
	var c crowd
	tokens := map[string]bool{}
	gate := make(chan struct{})
	for range n {
		wg.Go(func() {
			<-gate
			ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
			defer cancel()
			begin := time.Now()
			tok, err := get(ctx)
			wait := time.Since(begin)
			mu.Lock()
			defer mu.Unlock()
			c.waits = append(c.waits, wait)
			if err != nil {
				c.failed++
				return
			}
			c.served++
			tokens[tok] = true
		})
	}
	close(gate)
	wg.Wait()
	c.kinds = len(tokens)
	slices.Sort(c.waits)
	return c
}

func (c crowd) p99() time.Duration     { return c.waits[(len(c.waits)*99-1)/100] }
func (c crowd) longest() time.Duration { return c.waits[len(c.waits)-1] }

// once asks once, for limit at most, and describes what came of it.
func once(ctx context.Context, limit time.Duration, get getter) (string, string) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	begin := time.Now()
	tok, err := get(ctx)
	took := short(time.Since(begin))
	switch {
	case err != nil && errors.Is(err, token.ErrRefused):
		return tok, "refused, typed, after " + took
	case err != nil && errors.Is(err, token.ErrUnavailable):
		return tok, "unavailable, typed, after " + took
	case err != nil && ctx.Err() != nil:
		return tok, "still waiting after " + took
	case err != nil:
		return tok, "error after " + took
	case tok == "":
		return tok, "an empty token and no error after " + took
	}
	return tok, "token after " + took
}

func short(d time.Duration) string {
	switch {
	case d < time.Millisecond:
		return "< 1 ms"
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	}
	return fmt.Sprintf("%.1f s", d.Seconds())
}

func count(n int, word string) string {
	if n != 1 {
		word += "s"
	}
	return fmt.Sprintf("%d %s", n, word)
}

func join(parts ...string) string { return strings.Join(parts, ", ") }
