package relay

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptrace"
	"strconv"
	"sync/atomic"
	"time"

	"apimrelay/handler/internal/observe"
)

// transport is what happens to each request: the token is fetched here, so that without one nothing is sent.
type transport struct {
	base     http.RoundTripper
	facts    func(string) observe.Token
	counters *observe.Counters
	now      func() time.Time
	budgets  retryBudgets
	sent     sent
}

// bearers keeps the value of an Authorization header from one request to the next: a token has a kilobyte or two. Each function has its own, or two
// identities would take turns in one.
type bearers struct{ last atomic.Pointer[bearer] }

type bearer struct {
	token string
	line  []string // shared by all requests, changed by none
}

func (b *bearers) of(token string) []string {
	if last := b.last.Load(); last != nil && last.token == token {
		return last.line
	}
	made := &bearer{token, []string{"Bearer " + token}}
	b.last.Store(made)
	return made.line
}

// RoundTrip sends the request of the [Call] in its context, as often as the rules allow. The answer is the gateway's last. An error is the token's, a
// [*GatewayError], an [*UploadError], [ErrBudgetSpent], or the context's cause where the caller has left.
func (t *transport) RoundTrip(req *http.Request) (*http.Response, error) {
	ctx := req.Context()
	call := FromContext(ctx)
	f := call.Function

	token, err := f.Tokens.Token(ctx)
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = fmt.Errorf("getting a token: %w", cause) // or it would read as if the gateway had been slow
		}
		return nil, err
	}
	body := newUpload(req, &call.budget)
	if body != nil && body.getBody == nil {
		req.GetBody = body.resend // net/http resends by itself what a connection that went away has not taken
	}
	retries := t.budgets.of(f.Target.host)
	retries.earn()
	send := body.first()
	key, start := f.Keys.current(), time.Now()
	var replayedKey, replayedToken bool
	tries := 1
	// retry makes ready for another attempt, or tells that there is none, or why the call ended.
	retry := func(wait time.Duration, answer *http.Response, reason string) (bool, error) {
		next, ended := t.retry(ctx, call, body, wait, answer, reason)
		if next == nil || ended != nil {
			return false, ended
		}
		// The wait may have been long. Where no token can be had, the one in hand may do.
		if fresh, err := f.Tokens.Token(ctx); err == nil {
			token = fresh
		}
		send, tries = next, tries+1
		return true, nil
	}
	for {
		res, err := t.send(req, call, send, token, key)
		call.Outcome.Upstream = time.Since(start)
		if err != nil {
			err = failure(ctx, call, body, err)
			if !transient(err) {
				return nil, err
			}
			retries.came(true)
			if tries >= f.Attempts || !call.again(req) {
				return nil, err
			}
			switch again, ended := retry(backoff(tries), nil, "connection"); {
			case ended != nil:
				return nil, ended
			case again:
				continue
			}
			return nil, err
		}

		retries.came(retryable(res.StatusCode))
		call.Outcome.Status = res.StatusCode
		class, message := classify(res)
		if class != NoRefusal {
			call.Outcome.Refusal, call.Outcome.Message = class, message
			t.counters.Refusal(f.Name, string(class))
			call.refused(t, token)
		}
		switch {
		case class == KeyInvalid && !replayedKey:
			replayedKey = true
			if other, ok := f.Keys.refused(key); ok {
				if next, ok := body.again(); ok {
					drain(res)
					key, send = other, next
					call.Outcome.Replays = append(call.Outcome.Replays, "key")
					t.counters.Replay(f.Name, "key")
					continue
				}
			}
		case class == TokenRefused && !replayedToken:
			replayedToken = true
			if !body.repeatable() {
				// This answer passes; the next call has the new token.
				go func() { _, _ = f.Tokens.Renew(context.WithoutCancel(ctx), token) }()
				break
			}
			fresh, err := f.Tokens.Renew(ctx, token)
			if err != nil || fresh == token {
				break
			}
			if next, ok := body.again(); ok {
				drain(res)
				token, send = fresh, next
				call.Outcome.Replays = append(call.Outcome.Replays, "token")
				t.counters.Replay(f.Name, "token")
				continue
			}
		case retryable(res.StatusCode) && tries < f.Attempts && call.again(req) && body.repeatable():
			wait, told := retryAfter(res.Header, t.now())
			if told {
				wait += backoff(1) // who was told the same instant does not come back at the same instant
			} else {
				wait = backoff(tries)
			}
			// What the gateway asks for is waited for or not at all; an event without a functionTimeout would otherwise wait for days.
			if wait > silence {
				break
			}
			switch again, ended := retry(wait, res, strconv.Itoa(res.StatusCode)); {
			case ended != nil:
				return nil, ended
			case again:
				continue
			}
		}
		call.budget.answered()
		return res, nil
	}
}

// retry takes a retry from the gateway's budget, gives up the answer if there is one, and waits. It returns the body for the next attempt; nil where there
// is to be none, and what there is passes; or why the call ended meanwhile. What it cannot do it knows before it gives anything up.
func (t *transport) retry(ctx context.Context, call *Call, body *upload, wait time.Duration, answer *http.Response, reason string) (io.ReadCloser, error) {
	retries := t.budgets.of(call.Function.Target.host)
	if !call.budget.allows(wait) || !retries.spend() {
		return nil, nil
	}
	next, ok := body.again()
	if !ok {
		retries.refund()
		return nil, nil
	}
	if answer != nil {
		drain(answer)
	}
	if err := sleep(ctx, wait); err != nil {
		return nil, err
	}
	t.counters.Retry(call.Function.Name, reason)
	return next, nil
}

// send makes one attempt. The first one is req itself, which is the relay's own; of the later ones each has a header of its own, since the transport may
// still be reading the one before.
func (t *transport) send(req *http.Request, call *Call, body io.ReadCloser, token string, key int) (*http.Response, error) {
	out := req
	if call.Outcome.Attempts > 0 {
		out = req.WithContext(req.Context())
		out.Header = maps.Clone(req.Header)
	}
	if call.guarded(req.Method) {
		out = out.WithContext(httptrace.WithClientTrace(req.Context(), &httptrace.ClientTrace{
			// Called before the first byte can leave.
			WroteHeaderField: func(string, []string) { t.sent.add(call.InvocationID, t.now()) },
		}))
	}
	out.Body = body
	if body == http.NoBody {
		out.Body = nil
	}
	out.Header["Authorization"] = call.Function.bearers.of(token)
	if key >= 0 {
		out.Header[call.Function.Keys.header] = call.Function.Keys.lines[key]
	}
	call.token = token
	span := call.attemptSpan(out)
	span.Inject(out.Header)
	call.Outcome.Attempts++
	call.Outcome.Key = keyName(key)
	res, err := t.base.RoundTrip(out)
	switch {
	case err != nil:
		span.End(0, "gateway-unreachable")
	case res.StatusCode < 200 || res.StatusCode > 599:
		_ = res.Body.Close()
		span.End(res.StatusCode, "gateway-unreachable")
		return nil, fmt.Errorf("want a status from 200 to 599, got %d", res.StatusCode)
	default:
		span.End(res.StatusCode, "")
	}
	return res, err
}

func (c *Call) attemptSpan(req *http.Request) *observe.Span {
	if c.Span == nil {
		return nil
	}
	return c.Span.Attempt(observe.Attempt{
		Method: req.Method, Scheme: req.URL.Scheme, Host: req.URL.Host, Path: req.URL.EscapedPath(), Resend: c.Outcome.Attempts,
	})
}

// again tells whether the backend may see this request twice.
func (c *Call) again(req *http.Request) bool { return c.Way == Event || idempotent(req.Method) }

// refused notes what may be said of a token that the gateway refused.
func (c *Call) refused(t *transport, token string) {
	if t.facts != nil {
		facts := t.facts(token)
		c.Outcome.Token = &facts
	}
}

// failure names what ended an attempt: our time, the caller, its upload, or the gateway.
func failure(ctx context.Context, call *Call, body *upload, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	if broken := body.broken(); broken != nil {
		return &UploadError{broken}
	}
	return &GatewayError{Host: call.Function.Target.host, Err: err}
}

// called is err, or why the context ended.
func called(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

// transient tells the failures that another attempt may cure. A certificate that cannot be trusted now will not be in a second.
func transient(err error) bool {
	gateway, ok := errors.AsType[*GatewayError](err)
	if !ok {
		return false
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](gateway.Err); ok {
		return false
	}
	return true
}

// drain reads a short answer that nobody gets, so that its connection can be used again, and closes it. One of unknown length might never end.
func drain(res *http.Response) {
	if 0 <= res.ContentLength && res.ContentLength <= refusalPrefix {
		_, _ = io.Copy(io.Discard, res.Body)
	}
	_ = res.Body.Close()
}
