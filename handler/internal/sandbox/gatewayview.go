package sandbox

import (
	"fmt"
	"slices"
	"time"

	"apimrelay/handler/internal/policy"
	"apimrelay/handler/internal/sandbox/gateway"
)

// fault is a fault as the console and the management API name it, the same shape for every stand-in.
type fault struct {
	Name       string `json:"name"`
	DelayMS    int    `json:"delay_ms,omitempty"`
	Status     int    `json:"status,omitempty"`
	RetryAfter string `json:"retry_after,omitempty"`
	Times      int    `json:"times,omitempty"`
}

// gatewayFaults are the names; each sets or clears its own fields of gateway.Faults.
var gatewayFaults = []struct {
	name string
	on   func(gateway.Faults) bool
	set  func(*gateway.Faults, fault)
}{
	{"latency", func(f gateway.Faults) bool { return f.LatencyMS != 0 }, func(g *gateway.Faults, f fault) { g.LatencyMS = f.DelayMS }},
	{"hang", func(f gateway.Faults) bool { return f.Hang }, func(g *gateway.Faults, f fault) { g.Hang = f.Name != "" }},
	{"reset", func(f gateway.Faults) bool { return f.Reset == "before" }, func(g *gateway.Faults, f fault) { g.Reset = word(f, "before") }},
	{"reset-in-body", func(f gateway.Faults) bool { return f.Reset == "body" }, func(g *gateway.Faults, f fault) { g.Reset = word(f, "body") }},
	{"garbage", func(f gateway.Faults) bool { return f.Garbage }, func(g *gateway.Faults, f fault) { g.Garbage = f.Name != "" }},
	{"status", func(f gateway.Faults) bool { return f.Status != 0 }, func(g *gateway.Faults, f fault) { g.Status, g.RetryAfter = f.Status, f.RetryAfter }},
	{"stale-metadata", func(f gateway.Faults) bool { return f.StaleMetadata }, func(g *gateway.Faults, f fault) { g.StaleMetadata = f.Name != "" }},
	{"clock-skew", func(f gateway.Faults) bool { return f.ClockSkewSeconds != 0 }, func(g *gateway.Faults, f fault) { g.ClockSkewSeconds = f.DelayMS / 1000 }},
}

func word(f fault, text string) string {
	if f.Name == "" {
		return ""
	}
	return text
}

func gatewayStandIn(g *gateway.Gateway) standIn {
	return standIn{
		name: "gateway",
		names: func() []string {
			var names []string
			for _, f := range gatewayFaults {
				names = append(names, f.name)
			}
			return names
		},
		on: func() any {
			now, on := g.Faults(), []fault{}
			for _, f := range gatewayFaults {
				if !f.on(now) {
					continue
				}
				one := fault{Name: f.name, Times: now.Times}
				switch f.name {
				case "latency":
					one.DelayMS = now.LatencyMS
				case "status":
					one.Status, one.RetryAfter = now.Status, now.RetryAfter
				case "clock-skew":
					one.DelayMS = now.ClockSkewSeconds * 1000
				}
				on = append(on, one)
			}
			return on
		},
		set: func(body []byte) error {
			return readFault(body, func(f fault) error {
				i := slices.IndexFunc(gatewayFaults, func(have struct {
					name string
					on   func(gateway.Faults) bool
					set  func(*gateway.Faults, fault)
				}) bool {
					return have.name == f.Name
				})
				if i < 0 {
					return fmt.Errorf("setting a fault of gateway: no fault %q", f.Name)
				}
				now := g.Faults()
				gatewayFaults[i].set(&now, f)
				now.Times = f.Times
				return g.SetFaults(now)
			})
		},
		clear: func(name string) {
			now := g.Faults()
			for _, f := range gatewayFaults {
				if (name == "" || f.name == name) && f.on(now) {
					f.set(&now, fault{})
				}
			}
			g.SetFaults(now) // nothing was added: it cannot be refused
		},
	}
}

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
