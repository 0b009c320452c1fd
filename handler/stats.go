package main

import "apimrelay/handler/internal/observe"

// tokenStats are the sources' states as metrics have them.
func (p *program) tokenStats() []observe.TokenStats {
	var all []observe.TokenStats
	for _, s := range p.sources {
		st := s.State()
		all = append(all, observe.TokenStats{
			Identity: st.Identity, Resource: st.Resource, ReceivedAt: st.ReceivedAt,
			Outcomes: map[string]uint64{
				"new": st.Counts.New, "same": st.Counts.Same,
				"refused": st.Counts.Refused, "unavailable": st.Counts.Unavailable,
			},
		})
	}
	return all
}
