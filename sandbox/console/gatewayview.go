package console

import (
	"fmt"
	"time"

	"apimrelay/internal/policy"
	"apimrelay/sandbox/gateway"
)

// callOf shows a record of the gateway.
func callOf(r gateway.Record, backend string) Call {
	c := Call{
		Started: r.Time, DurationMS: r.Durations.TotalMS, Method: r.Method, Path: r.Path, Operation: r.Operation,
		Status: r.Status, Bytes: r.ResponseBytes, Fault: r.Fault, Rules: []Rule{},
	}
	if r.Query != "" {
		c.Path += "?" + r.Query
	}
	if r.Error != nil {
		c.Message = r.Error.Message
	}
	c.Key, c.KeyOK = keyText(r)
	for _, rule := range r.Rules {
		shown := Rule{
			File: rule.File, Line: rule.Line, Scope: string(rule.Scope), Section: string(rule.Section), Statement: rule.Statement, Check: rule.Check,
			Result: string(rule.Result), Want: rule.Want, Got: rule.Got, Why: rule.Why,
		}
		for _, fix := range rule.Fixes {
			shown.Fixes = append(shown.Fixes, string(fix.Side)+": "+fix.Change)
		}
		c.Rules = append(c.Rules, shown)
	}
	if r.Stage == "backend" || r.BackendStatus != 0 {
		c.Backend = &Backend{
			Started: r.Time.Add(time.Duration(r.Durations.BackendAt * float64(time.Millisecond))), DurationMS: r.Durations.BackendMS,
			Method: r.Method, URL: backend, Status: r.BackendStatus,
		}
		if r.BackendStatus == 0 && r.Error != nil {
			c.Backend.Error = r.Error.Message
		}
	}
	return c
}

func keyText(r gateway.Record) (text string, ok bool) {
	switch {
	case r.Stage == "route" || r.Stage == "fault" && r.Key == "":
		return "", true
	case r.Stage == "key" && r.Key == "":
		return "missing", false
	case r.Stage == "key":
		return "refused: it belongs to no active subscription of this API", false
	case r.Key == "":
		return "none sent, none needed", true
	}
	return fmt.Sprintf("accepted: %s key of subscription %s, from the %s", r.Key, r.Subscription, r.KeyFrom), true
}

func tokenOf(f *policy.Facts) *Token {
	if f == nil {
		return nil
	}
	t := &Token{
		Hash: f.Hash, Version: f.Version, Issuer: f.Issuer, Tenant: f.Tenant, Caller: f.Caller, Roles: f.Roles, Scopes: f.Scopes,
		Issued: f.IssuedAt, Expires: f.Expires,
	}
	for i, aud := range f.Audience {
		if i > 0 {
			t.Aud += " "
		}
		t.Aud += aud
	}
	if t.Roles == nil {
		t.Roles = []string{}
	}
	return t
}
