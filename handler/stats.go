package main

import "apimrelay/handler/internal/telemetry"

// tokenStats are the sources' states as metrics have them.
func (p *program) tokenStats() []telemetry.TokenStats {
	var all []telemetry.TokenStats
	for _, s := range p.sources {
		st := s.State()
		all = append(all, telemetry.TokenStats{
			Identity: st.Identity, Resource: st.Resource, ReceivedAt: st.ReceivedAt,
			Outcomes: map[string]uint64{"new": st.Counts.New, "same": st.Counts.Same, "refused": st.Counts.Refused, "unavailable": st.Counts.Unavailable},
		})
	}
	return all
}
