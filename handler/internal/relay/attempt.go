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
	"time"

	"apimrelay/handler/internal/header"
	"apimrelay/handler/internal/observe"
)

// attempts is one call while it is being sent.
type attempts struct {
	*Relay
	ctx     context.Context
	call    *Call
	request *http.Request // what every attempt begins with
	body    *upload       // nil = none
	retries *retryBudget

	token string
	key   int
	tries int // that counted against ApimAttempts: replays do not
	// replayed: each refusal is answered by at most one replay.
	replayedKey, replayedToken bool
}

// attempt sends the call as often as the rules allow. Without a token nothing is sent. The answer is
// the gateway's last.
func (r *Relay) attempt(ctx context.Context, call *Call, req *http.Request, body *upload) (*http.Response, error) {
	token, err := call.Credentials.Tokens.Token(ctx)
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = fmt.Errorf("getting a token: %w", cause) // or it would read as if the gateway had been slow
		}
		return nil, err
	}
	a := &attempts{
		Relay: r, ctx: ctx, call: call, request: req, body: body, token: token,
		retries: r.budgets.of(call.Function.Target.Host()), key: call.Credentials.Keys.current(), tries: 1,
	}
	a.retries.earn()
	for next, start := body.first(), time.Now(); ; {
		res, err := a.send(next)
		call.Outcome.Upstream = time.Since(start)
		if err != nil {
			next, err = a.afterFailure(err)
		} else {
			next, err = a.afterAnswer(res)
		}
		switch {
		case err != nil:
			return nil, err
		case next == nil:
			call.budget.answered()
			return res, nil
		}
	}
}

// send makes one attempt. The first takes the request's own header, each later one a copy: the
// transport may still be reading the one before.
func (a *attempts) send(body io.ReadCloser) (*http.Response, error) {
	ctx := a.ctx
	if a.call.guarded() {
		ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
			// Called before the first byte can leave.
			WroteHeaderField: func(string, []string) { a.sent.add(a.call.InvocationID, a.now()) },
		})
	}
	req := a.request.WithContext(ctx)
	if a.call.Outcome.Attempts > 0 {
		req.Header = maps.Clone(a.request.Header)
	}
	if body != http.NoBody {
		req.Body = body
	}
	req.Header["Authorization"] = a.call.Credentials.authorization(a.token)
	if a.key >= 0 {
		req.Header[a.call.Credentials.Keys.header] = a.call.Credentials.Keys.lines[a.key]
	}
	a.call.token = a.token
	span := a.span(req)
	span.Inject(req.Header)
	a.call.Outcome.Attempts++
	a.call.Outcome.Key = keyName(a.key)
	res, err := a.of(a.call.Function).RoundTrip(req)
	switch {
	case err != nil:
		span.End(0, "gateway-unreachable")
	case res.StatusCode < 200 || res.StatusCode > 599:
		_ = res.Body.Close()
		span.End(res.StatusCode, "gateway-unreachable")
		return nil, &statusError{res.StatusCode}
	default:
		span.End(res.StatusCode, "")
	}
	return res, err
}

func (a *attempts) span(req *http.Request) *observe.Span {
	if a.call.Span == nil {
		return nil
	}
	return a.call.Span.Attempt(observe.Attempt{
		Method: req.Method, Scheme: req.URL.Scheme, Host: req.URL.Host, Path: req.URL.EscapedPath(),
		Resend: a.call.Outcome.Attempts,
	})
}

// afterFailure returns the body of another attempt after one that brought no answer, or why the call
// fails.
func (a *attempts) afterFailure(err error) (next io.ReadCloser, _ error) {
	err = a.failure(err)
	if !transient(err) {
		return nil, err
	}
	a.retries.came(true)
	if a.tries >= a.call.Function.Attempts || !a.repeatable() {
		return nil, err
	}
	next, ended := a.retry(backoff(a.tries), nil, "connection")
	switch {
	case ended != nil:
		return nil, ended
	case next == nil:
		return nil, err
	}
	return next, nil
}

// failure names what ended an attempt: our time, the caller, its upload, or the gateway.
func (a *attempts) failure(err error) error {
	if cause := context.Cause(a.ctx); cause != nil {
		return cause
	}
	if broken := a.body.broken(); broken != nil {
		return &UploadError{broken}
	}
	return &GatewayError{Host: a.call.Function.Target.Host(), Err: err}
}

// transient reports whether another attempt may cure a failure. A certificate that cannot be trusted
// now will not be in a second.
func transient(err error) bool {
	gateway, ok := errors.AsType[*GatewayError](err)
	if !ok {
		return false
	}
	_, untrusted := errors.AsType[*tls.CertificateVerificationError](gateway.Err)
	return !untrusted
}

// repeatable reports whether the backend may see this request twice.
func (a *attempts) repeatable() bool { return a.call.Way == Event || idempotent(a.call.Method) }

// afterAnswer returns the body of another attempt after an answer, which is then closed; nil where the
// answer passes; or why the call ended meanwhile.
func (a *attempts) afterAnswer(res *http.Response) (next io.ReadCloser, _ error) {
	a.retries.came(retryable(res.StatusCode))
	a.call.Outcome.Status = res.StatusCode
	class := a.classify(res)
	switch {
	case class == KeyInvalid && !a.replayedKey:
		return a.replayWithOtherKey(res), nil
	case (class == TokenRefused || class == Unclear && res.StatusCode == http.StatusUnauthorized) && !a.replayedToken:
		return a.replayWithNewToken(res), nil
	case retryable(res.StatusCode):
		return a.retryAnswer(res)
	}
	return nil, nil
}

// classify looks at a refusal and notes it.
func (a *attempts) classify(res *http.Response) Refusal {
	class, message := classify(res)
	if class == NoRefusal {
		return class
	}
	o := &a.call.Outcome
	o.Refusal, o.Message = class, message
	a.counters.Refusal(a.call.Function.App.Name, string(class))
	if a.facts != nil {
		facts := a.facts(a.token)
		o.Token = &facts
	}
	return class
}

// replayWithOtherKey sends the call again with the other key, whatever its method: a refused key is
// certainly the gateway's word, and no backend has seen the call.
func (a *attempts) replayWithOtherKey(res *http.Response) io.ReadCloser {
	a.replayedKey = true
	other, ok := a.call.Credentials.Keys.refused(a.key)
	if !ok {
		return nil
	}
	next, ok := a.body.again()
	if !ok {
		return nil
	}
	a.key = other
	a.replayed(res, "key")
	return next
}

// replayWithNewToken sends the call again with another token, where there is one. A backend's answer may
// look like the gateway's, so a call that must not reach a backend twice is not sent again: its caller
// gets the refusal.
func (a *attempts) replayWithNewToken(res *http.Response) io.ReadCloser {
	a.replayedToken = true
	tokens, refused := a.call.Credentials.Tokens, a.token
	if !a.repeatable() || !a.body.repeatable() {
		// This answer passes; the next call has the new token.
		go func() { _, _ = tokens.Renew(context.WithoutCancel(a.ctx), refused) }()
		return nil
	}
	fresh, err := tokens.Renew(a.ctx, refused)
	if err != nil || fresh == refused {
		return nil
	}
	next, ok := a.body.again()
	if !ok {
		return nil
	}
	a.token = fresh
	a.replayed(res, "token")
	return next
}

// replayed notes a replay and gives up the answer that it follows.
func (a *attempts) replayed(res *http.Response, what string) {
	drain(res)
	a.call.Outcome.Replays = append(a.call.Outcome.Replays, what)
	a.counters.Replay(a.call.Function.App.Name, what)
}

// retryAnswer makes ready for another attempt after an answer that one may cure.
func (a *attempts) retryAnswer(res *http.Response) (next io.ReadCloser, _ error) {
	if a.tries >= a.call.Function.Attempts || !a.repeatable() || !a.body.repeatable() {
		return nil, nil
	}
	wait, told := header.RetryAfter(res.Header, a.now())
	switch {
	case wait > silence:
		// What the gateway asks for is waited for or not at all; an event without a functionTimeout
		// would otherwise wait for days.
		return nil, nil
	case told:
		wait += backoff(1) // who was told the same instant does not come back at the same instant
	default:
		wait = backoff(a.tries)
	}
	return a.retry(wait, res, strconv.Itoa(res.StatusCode))
}

// retry takes a retry from the gateway's budget, gives up the answer if there is one, and waits. It
// returns the body for the next attempt; nil where there is to be none, and what there is passes; or
// why the call ended meanwhile. What it cannot do it knows before it gives anything up.
func (a *attempts) retry(wait time.Duration, answer *http.Response, reason string) (next io.ReadCloser, _ error) {
	if !a.call.budget.allows(wait) || !a.retries.spend() {
		return nil, nil
	}
	next, ok := a.body.again()
	if !ok {
		a.retries.refund()
		return nil, nil
	}
	if answer != nil {
		drain(answer)
	}
	if err := sleep(a.ctx, wait); err != nil {
		return nil, err
	}
	a.counters.Retry(a.call.Function.App.Name, reason)
	// The wait may have been long. Where no token can be had, the one in hand may do.
	if fresh, err := a.call.Credentials.Tokens.Token(a.ctx); err == nil {
		a.token = fresh
	}
	a.tries++
	return next, nil
}

// drain reads a short answer that nobody gets, so that its connection can be used again, and closes
// it. One of unknown length might never end.
func drain(res *http.Response) {
	if 0 <= res.ContentLength && res.ContentLength <= refusalPrefix {
		_, _ = io.Copy(io.Discard, res.Body)
	}
	_ = res.Body.Close()
}
