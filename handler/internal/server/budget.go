package server

import (
	"time"

	"apimrelay/handler/internal/relay"
	"apimrelay/handler/internal/settings"
)

// budget is how long a call may take until its answer's header, and altogether; 0 = unbounded.
// The first is 230 s for HTTP, since Azure's load balancer gives up then, functionTimeout for all,
// less a margin; ApimTimeout is an upper bound of it. The second is functionTimeout less the
// margin, whatever the way: two seconds after functionTimeout the host kills the process that all
// invocations share (Azure/azure-functions-host 4.1037,
// src/WebJobs.Script.WebHost/WebScriptHostExceptionHandler.cs, OnTimeoutExceptionAsync). The answer
// of recording P-ans-slow-12s, 12 s at a functionTimeout of 10 s, came just before that.
func (s *Server) budget(f *settings.Function, way relay.Way) (header, limit time.Duration) {
	limit = lessMargin(s.app.FunctionTimeout)
	header = limit
	if way != relay.Event {
		if frontEnd := lessMargin(frontEndLimit); header == 0 || header > frontEnd {
			header = frontEnd
		}
	}
	if f.Timeout > 0 && (header == 0 || f.Timeout < header) {
		header = f.Timeout
	}
	return header, limit
}

// frontEndLimit is when Azure's load balancer ends an idle request (learn.microsoft.com "Azure Functions scale and hosting").
const frontEndLimit = 230 * time.Second

// lessMargin leaves a tenth, one to ten seconds, to answer in; 0 stays 0.
func lessMargin(d time.Duration) time.Duration {
	return d - min(max(d/10, time.Second), 10*time.Second, d/2)
}
