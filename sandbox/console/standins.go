package console

import (
	"apimrelay/sandbox/gateway"
	"apimrelay/sandbox/host"
	"apimrelay/sandbox/identity"
)

// StandIn is one of host, identity, gateway, as the console switches its faults.
type StandIn struct {
	name   string
	names  func() []string
	places []string   // where a fault can work: what "on" may say; none for a stand-in with one place
	on     func() any // JSON array of objects with a name
	set    func(body []byte) error
	clear  func(name string)
}

// HostStandIn is a host whose faults are switched.
func HostStandIn(h *host.Host) StandIn {
	return StandIn{
		name: "host", names: host.FaultNames, places: []string{host.ToHandler, host.ToCaller}, clear: h.ClearFault,
		on:  func() any { return append([]host.Fault{}, h.Faults()...) },
		set: func(body []byte) error { return readFault(body, h.SetFault) },
	}
}

// IdentityStandIn is an identity stand-in whose faults are switched.
func IdentityStandIn(s *identity.Server) StandIn {
	return StandIn{
		name: "identity", names: identity.FaultNames, places: []string{identity.ToEndpoint, identity.ToIssuer, identity.ToCLI}, clear: s.ClearFault,
		on:  func() any { return append([]identity.Fault{}, s.Faults()...) },
		set: func(body []byte) error { return readFault(body, s.SetFault) },
	}
}

// GatewayStandIn is a gateway whose faults are switched.
func GatewayStandIn(g *gateway.Gateway) StandIn {
	return StandIn{
		name: "gateway", names: gateway.FaultNames, clear: g.ClearFault,
		on:  func() any { return append([]gateway.Fault{}, g.Faults()...) },
		set: func(body []byte) error { return readFault(body, g.SetFault) },
	}
}

// FaultHelp says of each stand-in's faults what they do: a sentence for people.
var FaultHelp = map[string]map[string]string{
	"host": {
		host.FaultLatency:     "The call waits before the handler gets it, as while a host wakes up.",
		host.FaultHang:        "The call is never handed over; functionTimeout passes.",
		host.FaultReset:       "The caller's connection is reset in place of the answer.",
		host.FaultResetInBody: "The connection ends in the middle of the answer.",
		host.FaultGarbage:     "Bytes that are no HTTP come in place of the answer.",
		host.FaultStatus:      "The host answers by itself, with the status below; no function runs.",
		host.FaultKill:        "The handler is killed while it works. The third time within half an hour ends the host.",
		host.FaultClockSkew:   "The host's clock is ahead, or behind with a minus.",
		host.FaultMissedTick:  "A timer's next tick is missed; its run comes late.",
	},
	"identity": {
		identity.Latency:       "The token comes late.",
		identity.Hang:          "No answer comes; the handler gives up after its own time.",
		identity.Reset:         "The connection is reset in place of the token.",
		identity.ResetInBody:   "The connection ends in the middle of the token.",
		identity.Garbage:       "An answer comes that is no JSON.",
		identity.HTML:          "A page of HTML comes in place of the token, as from a proxy.",
		identity.Status:        "The endpoint answers with the status below.",
		identity.EmptyToken:    "The answer is well formed, but the token in it is empty.",
		identity.ExpiredToken:  "The token expired ten minutes ago.",
		identity.WrongTenant:   "The token comes from another tenant.",
		identity.RoleMissing:   "The token has no app role.",
		identity.SameToken:     "The platform's cache keeps a token past its end.",
		identity.ClockSkew:     "The issuer's clock is ahead, or behind with a minus.",
		identity.ShortLife:     "Tokens live only as long as the milliseconds below.",
		identity.StaleMetadata: "The issuer's key set stays as it is, whatever key it signs with.",
		identity.SignedOut:     "Nobody is signed in to the Azure CLI.",
		identity.NoConsent:     "The Azure CLI has no consent for the API.",
	},
	"gateway": {
		gateway.FaultLatency:       "The answer comes late.",
		gateway.FaultHang:          "No answer comes; the handler's budget passes.",
		gateway.FaultReset:         "The connection is reset in place of the answer.",
		gateway.FaultResetInBody:   "The connection ends in the middle of the answer.",
		gateway.FaultGarbage:       "Bytes that are no HTTP come in place of the answer.",
		gateway.FaultStatus:        "The gateway answers with the status below; key and policy are not looked at.",
		gateway.FaultStaleMetadata: "The gateway keeps the issuer's keys that it has, so a rotated signing key is unknown.",
		gateway.FaultClockSkew:     "The gateway's clock is ahead, or behind with a minus: tokens look expired or not valid yet.",
	},
}
