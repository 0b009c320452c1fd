package sandbox

import "apimrelay/handler/internal/sandbox/identity"

func identityStandIn(s *identity.Server) standIn {
	return standIn{
		name: "identity", names: identity.FaultNames, clear: s.ClearFault,
		on: func() any {
			if on := s.Faults(); on != nil {
				return on
			}
			return []identity.Fault{}
		},
		set: func(body []byte) error { return readFault(body, s.SetFault) },
	}
}
