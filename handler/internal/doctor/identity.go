package doctor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"apimrelay/handler/internal/cause"
	"apimrelay/handler/internal/identity"
	"apimrelay/handler/internal/token"
)

func checkIdentity(_ context.Context, v *visit) []outcome {
	c := v.f.Identity
	if c.Kind == identity.None {
		return one(notRun("FunctionIdentity is at fault: see the settings"))
	}
	return one(ok("%s", c))
}

// checkEndpoint looks for what hands out tokens, before it is asked: nothing there and no answer
// are two causes.
func checkEndpoint(ctx context.Context, v *visit) []outcome {
	switch c := v.f.Identity; {
	case c.Kind.Developer():
		return v.checkTool()
	case !c.Kind.Endpoint():
		o := ok("an app registration: Entra is asked")
		o.title = "the identity needs no endpoint"
		return one(o)
	}
	address, _ := v.o.Lookup("IDENTITY_ENDPOINT")
	header, _ := v.o.Lookup("IDENTITY_HEADER")
	if address == "" || header == "" {
		// identity's own check, and its text: it asks for nothing.
		_, err := v.f.Identity.Fetch(v.control(), identity.Env{Lookup: v.o.Lookup})
		if err == nil {
			return one(find(cause.IdentityEndpointHalf, "IDENTITY_ENDPOINT or IDENTITY_HEADER is not set", v.fill()))
		}
		return one(v.tokenFault(err))
	}
	u, err := url.Parse(address)
	if err != nil || u.Host == "" {
		return one(find(cause.IdentityEndpointHalf, "IDENTITY_ENDPOINT is no URL", v.fill()))
	}
	host := u.Host
	if u.Port() == "" {
		host = net.JoinHostPort(u.Hostname(), map[string]string{"https": "443"}[u.Scheme])
		if u.Scheme != "https" {
			host = net.JoinHostPort(u.Hostname(), "80")
		}
	}
	ctx, cancel := context.WithTimeout(ctx, v.o.times.dial)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", host)
	if err != nil {
		return one(find(cause.IdentityEndpointDown, fmt.Sprintf("nothing answers at %s: %s", u.Host, plainError(err)), v.fill()))
	}
	_ = conn.Close()
	return one(ok("%s://%s%s", u.Scheme, u.Host, u.Path))
}

// checkTool looks for az or azd on the PATH.
func (v *visit) checkTool() []outcome {
	name, title := "az", "the Azure CLI is there"
	if v.f.Identity.Kind == identity.AzureDeveloperCLI {
		name, title = "azd", "the Azure Developer CLI is there"
	}
	path, _ := v.o.Lookup("PATH")
	for _, dir := range filepath.SplitList(path) {
		if dir == "" {
			continue
		}
		if found, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			o := ok("%s", found)
			o.title = title
			return one(o)
		}
	}
	o := find(cause.AzMissing, "no executable "+name+" on PATH", v.fill())
	o.title = title
	return one(o)
}

// held is a token on its way through the checks.
type held struct {
	value string
	facts token.Facts
	// readable is false for a token whose claims cannot be read.
	readable bool
	ends     time.Time // by the identity's own word
}

// checkToken takes the token in hand, which is what calls are made with, or asks for one.
func checkToken(ctx context.Context, v *visit) []outcome {
	if v.f.TargetApp == "" {
		return one(notRun("TargetApp is at fault: see the settings"))
	}
	from := "in hand"
	tok := token.Token{}
	if v.o.Held != nil {
		tok.Value = v.o.Held(v.f)
	}
	if tok.Value == "" {
		from = "fetched now"
		var err error
		if tok, err = v.fetch(ctx, v.f.TargetApp, v.o.times.token); err != nil {
			return one(v.refusedToken(ctx, err))
		}
	}
	if tok.Value == "" {
		return one(find(cause.IdentityAnswerEmpty, "the answer holds no token", v.fill()))
	}
	v.redact.add(tok.Value)
	h := &held{value: tok.Value, ends: tok.ExpiresOn}
	f, err := token.ReadFacts(tok.Value)
	h.facts, h.readable = f, err == nil
	v.out = h
	return one(ok("token %s, %s", f.Hash, from))
}

// checkAssertion is the first of two steps of an application by a federated identity. It shows
// what the application's federated credential is compared with. Other identities have no such
// step.
func checkAssertion(ctx context.Context, v *visit) []outcome {
	if v.f.Identity.Kind != identity.Federated {
		return nil
	}
	fetch, err := v.f.Identity.AssertionFetch(identity.Env{Lookup: v.o.Lookup})
	if err != nil {
		return one(v.tokenFault(err))
	}
	tok, err := v.ask(ctx, fetch, v.o.times.token)
	if err != nil {
		return one(v.tokenFault(err))
	}
	v.redact.add(tok.Value)
	f, err := token.ReadFacts(tok.Value)
	if err != nil {
		return one(notRun("the assertion is opaque: not a signed JWT whose claims can be read"))
	}
	return one(ok("issuer %s, subject %s, audience %s", orNone(f.Issuer), orNone(f.ObjectID), orNone(strings.Join(f.Audience, " "))))
}

func (v *visit) fetch(ctx context.Context, resource string, limit time.Duration) (token.Token, error) {
	fetch, err := v.f.Identity.Fetch(resource, identity.Env{Lookup: v.o.Lookup, TenantID: v.f.TargetTenantID})
	if err != nil {
		return token.Token{}, err
	}
	return v.ask(ctx, fetch, limit)
}

// ask fetches a token within a time, whatever the fetch does.
func (v *visit) ask(ctx context.Context, fetch token.Fetch, limit time.Duration) (token.Token, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("no answer within %s: %w", limit, context.DeadlineExceeded))
	defer cancel()
	type result struct {
		tok token.Token
		err error
	}
	// A child that ignores its end must not keep the check: az may leave one behind.
	got := make(chan result, 1)
	go func() {
		tok, err := fetch(ctx)
		got <- result{tok, err}
	}()
	select {
	case r := <-got:
		return r.tok, r.err
	case <-ctx.Done():
	}
	select {
	case r := <-got:
		return r.tok, r.err
	case <-time.After(200 * time.Millisecond):
		who := "the identity endpoint"
		if v.f.Identity.Kind.Developer() {
			who = "az"
		} else if !v.f.Identity.Kind.Managed() {
			who = "the authority"
		}
		return token.Token{}, &token.Error{Code: v.f.Identity.Silent(), Err: fmt.Errorf("%s did not answer in time: %w", who, context.Cause(ctx))}
	}
}

// refusedToken names the cause of a failed fetch. The platform gives one answer for a wrong
// resource and for trouble of its own: another resource tells.
func (v *visit) refusedToken(ctx context.Context, err error) outcome {
	o := v.tokenFault(err)
	if o.anchor != cause.ResourceRefused {
		return o
	}
	control := v.control()
	if _, other := v.fetch(ctx, control, v.o.times.control); other != nil {
		o = find(cause.IdentityPlatform, err.Error()+"; a token for "+control+" is not to be had either", v.fill())
		return o
	}
	o.saw += "; a token for " + control + " comes: it is TargetApp or an assignment, not the platform"
	return o
}

// tokenFault makes a finding of an error of package identity, with its own hint where the table
// has no better one.
func (v *visit) tokenFault(err error) outcome {
	code := cmp.Or(token.CodeOf(err), cause.TokenUnavailable)
	o := find(code, err.Error(), v.fill())
	if cause.Of(code).OwnHint {
		o = o.fixed(token.Hint(err))
	}
	return o
}

// plainError is a network error without what net/http and net write around it.
func plainError(err error) string {
	var op *net.OpError
	if errors.As(err, &op) {
		err = op.Err
	}
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
	}
	if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() {
		return "no answer in time"
	}
	return line(cause.Reason(err))
}

// fill are the values for fixes.
func (v *visit) fill() cause.Gaps {
	m := cause.Gaps{
		"client": v.f.Identity.ClientID, "resource": v.f.TargetApp,
		"tenant": v.f.TargetTenantID, "role": v.f.TargetRole,
	}
	if name, ok := v.o.Lookup("WEBSITE_SITE_NAME"); ok && name != "" {
		m["app"] = name
	} else if id, ok := v.o.Lookup("WEBSITE_INSTANCE_ID"); !ok || id == "" {
		m["here"] = "no function app"
	}
	if name, ok := v.o.Lookup("WEBSITE_RESOURCE_GROUP"); ok && name != "" {
		m["group"] = name
	}
	return m
}
