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
