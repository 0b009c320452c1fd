package main

import (
	"apimrelay/sandbox/gateway"
	"apimrelay/sandbox/host"
	"apimrelay/sandbox/identity"
)

// standIn is one of host, identity, gateway, as the console switches its faults.
type standIn struct {
	name   string
	names  func() []string
	places []string   // where a fault can work: what "on" may say; none for a stand-in with one place
	on     func() any // JSON array of objects with a name
	set    func(body []byte) error
	clear  func(name string)
}

func hostStandIn(h *host.Host) standIn {
	return standIn{
		name: "host", names: host.FaultNames, places: []string{host.ToHandler, host.ToCaller}, clear: h.ClearFault,
		on:  func() any { return append([]host.Fault{}, h.Faults()...) },
		set: func(body []byte) error { return readFault(body, h.SetFault) },
	}
}

func identityStandIn(s *identity.Server) standIn {
	return standIn{
		name: "identity", names: identity.FaultNames, places: []string{identity.ToEndpoint, identity.ToIssuer, identity.ToCLI}, clear: s.ClearFault,
		on:  func() any { return append([]identity.Fault{}, s.Faults()...) },
		set: func(body []byte) error { return readFault(body, s.SetFault) },
	}
}

func gatewayStandIn(g *gateway.Gateway) standIn {
	return standIn{
		name: "gateway", names: gateway.FaultNames, clear: g.ClearFault,
		on:  func() any { return append([]gateway.Fault{}, g.Faults()...) },
		set: func(body []byte) error { return readFault(body, g.SetFault) },
	}
}
