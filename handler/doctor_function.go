package main

import (
	"bytes"
	"context"
	"net/http"
	"os"
	"strconv"
	"time"

	"golang.org/x/sync/singleflight"

	"apimrelay/handler/internal/app"
	"apimrelay/handler/internal/doctor"
	"apimrelay/handler/internal/observe"
	"apimrelay/handler/internal/settings"
	"apimrelay/handler/internal/token"
)

// doctorFunction answers the function doctor: the checks of the command from inside the deployed
// app, as JSON, with what has been counted since the start. The status is 200 whatever it finds: a
// finding is its result, not its failure.
type doctorFunction struct {
	settings *settings.Settings
	sources  map[*app.Function]*token.Source
	all      []*token.Source
	counters *observe.Counters
	// running lets callers at the same time share one run: each sends requests to the gateway.
	running singleflight.Group
}

func (d *doctorFunction) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	// The run is nobody's own: a caller that leaves does not end it for the others.
	result := d.running.DoChan("", func() (any, error) {
		var body bytes.Buffer
		err := d.report(context.WithoutCancel(r.Context())).WriteJSON(&body)
		return body.Bytes(), err
	})
	select {
	case <-r.Context().Done():
	case made := <-result:
		body, _ := made.Val.([]byte) // WriteJSON into a buffer does not fail
		h := w.Header()
		h.Set("Content-Type", "application/json")
		h.Set("Content-Length", strconv.Itoa(len(body)))
		h.Set("Cache-Control", "no-store")
		w.WriteHeader(http.StatusOK)
		if r.Method != http.MethodHead {
			_, _ = w.Write(body)
		}
	}
}

func (d *doctorFunction) report(ctx context.Context) *doctor.Report {
	report := doctor.Run(ctx, doctor.Options{Settings: d.settings, Lookup: os.LookupEnv, Held: func(f *settings.Function) string {
		source := d.sources[f.App]
		if source == nil || !source.State().Usable {
			return ""
		}
		value, err := source.Token(ctx) // in hand: no waiting
		if err != nil {
			return ""
		}
		return value
	}})
	report.Program = version()
	var states []token.State
	for _, s := range d.all {
		states = append(states, s.State())
	}
	counts := d.counters.Counts()
	report.Counters = &doctor.Counters{
		Tokens: doctor.TokensOf(states, time.Now()), Retries: counts.Retries,
		Replays: counts.Replays, Refusals: counts.Refusals,
	}
	return report
}
