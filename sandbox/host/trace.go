package host

import (
	"crypto/rand"
	"encoding/hex"
	"net/http"
	"strings"
)

// traceparent by the host's telemetry (recordings A-traceparent, E-appinsights-*, E-otel-*): none
// adds nothing, Application Insights gives a wrapped call the host's span and leaves a forwarded
// caller's alone, OpenTelemetry gives both the host's span.

type traceFor int

const (
	traceProbe traceFor = iota
	traceWrapped
	traceForwarded
)

func (in *instance) traceMode() TraceMode {
	if m := in.h.cfg.Switches.Trace; m != TraceByConfig {
		return m
	}
	if strings.EqualFold(in.cfg.telemetryMode, "OpenTelemetry") {
		return TraceOpenTelemetry
	}
	for _, name := range []string{"APPLICATIONINSIGHTS_CONNECTION_STRING",
		"APPINSIGHTS_INSTRUMENTATIONKEY"} {
		if v, ok := in.lookup(name); ok && v != "" {
			return TraceAppInsights
		}
	}
	return TraceNone
}

// trace adds traceparent (and a caller's tracestate) to a request for the handler.
func (in *instance) trace(hdr http.Header, from *request, what traceFor) {
	mode := in.traceMode()
	if mode == TraceNone {
		return
	}
	var parent, state string
	if from != nil {
		parent, state = from.hdr.Get("traceparent"), from.hdr.Get("tracestate")
	}
	if what == traceForwarded && parent != "" && mode == TraceAppInsights {
		return
	}
	flags := "00"
	if mode == TraceOpenTelemetry {
		flags = "01"
	}
	traceID := randomHex(16)
	if p := strings.Split(parent, "-"); len(p) == 4 && len(p[1]) == 32 {
		traceID, flags = p[1], p[3]
	}
	value := "00-" + traceID + "-" + randomHex(8) + "-" + flags
	if what == traceForwarded {
		hdr.Del("tracestate")
	}
	hdr.Set("traceparent", value)
	if state != "" {
		hdr.Set("tracestate", state)
	}
}

func randomHex(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b)
	return hex.EncodeToString(b)
}
