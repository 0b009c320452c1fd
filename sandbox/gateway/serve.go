package gateway

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"apimrelay/internal/policy"
)

// call is one request on its way.
type call struct {
	gateway *Gateway
	r       *http.Request
	w       *writer
	start   time.Time
	now     time.Time // the gateway's clock
	record  Record
	api     *api
	policy  *policy.Policy
	input   policy.Input
	rest    string // escaped path below the API's
	verdict policy.Verdict
	faults  map[string]met // by name
}

// ServeHTTP is the data plane.
func (g *Gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	faults := g.faults.take()
	start := time.Now()
	right := g.config.Now()
	c := &call{
		gateway: g, r: r, start: start, faults: faults, now: right.Add(time.Duration(faults[FaultClockSkew].DelayMS) * time.Millisecond),
	}
	c.w = &writer{ResponseWriter: w, call: c}
	c.record = Record{
		ID: newID(), Time: right.UTC(), Method: r.Method, Path: r.URL.EscapedPath(), Remote: r.RemoteAddr,
		Headers:     slices.Sorted(maps.Keys(r.Header)),
		Traceparent: r.Header.Get("Traceparent"), IdempotencyKey: r.Header.Get("Idempotency-Key"),
	}
	counted := &countingBody{ReadCloser: r.Body}
	if r.Body != nil && r.Body != http.NoBody {
		r.Body = counted
	}
	// Deferred, since the reset faults and net/http's proxy end a request by panicking with http.ErrAbortHandler.
	defer func() {
		c.record.Query = c.shownQuery()
		c.record.Status, c.record.ResponseBytes, c.record.RequestBytes = c.w.status, c.w.bytes, counted.count()
		c.record.Durations.TotalMS = millis(time.Since(start))
		g.history.add(c.record)
		if g.config.OnRecord != nil {
			g.config.OnRecord(c.record)
		}
	}()
	if c.endsByFault() {
		return
	}
	c.serve()
}

// serve is the order of the real thing: route, key, policy, backend.
func (c *call) serve() {
	g, r := c.gateway, c.r
	a, o, rest := g.route(r.Method, r.URL.EscapedPath())
	c.input = policy.Input{
		Request: policy.Request{
			ID: c.record.ID, Method: r.Method, Path: r.URL.EscapedPath(), Header: r.Header, RawQuery: r.URL.RawQuery, RemoteAddr: r.RemoteAddr,
		},
		Now: c.now, Limits: &g.limits,
	}
	if a != nil {
		c.api, c.policy, c.record.API = a, a.bare, a.Name
	}
	if o == nil {
		// A wrong method is no 405: https://learn.microsoft.com/azure/api-management/api-management-error-handling-policies (OperationNotFound)
		c.fail("route", policy.LastError{
			Source: "configuration", Reason: "OperationNotFound", Message: "Unable to match incoming request to an operation.",
		}, policy.ErrorResponse(http.StatusNotFound, "Resource not found"))
		return
	}
	c.record.Operation, c.rest = o.Name, rest
	if o.Name == "" {
		c.record.Operation = o.Method + " " + o.Template
	}

	access := g.subs.admit(a, r)
	c.record.Subscription, c.record.Key, c.record.KeyFrom = access.subscription, access.key, access.from
	if access.refused != "" {
		answer := policy.ErrorResponse(http.StatusUnauthorized, access.refused)
		answer.Header.Set("Www-Authenticate", fmt.Sprintf("AzureApiManagementKey realm=\"%s\",name=\"%s\",type=\"header\"", c.realm(), a.KeyHeader))
		c.fail("key", policy.LastError{Source: "authorization", Reason: access.reason, Message: access.refused}, answer)
		return
	}
	c.record.Product = access.product
	c.policy = o.policies[access.product]
	c.input.Subscription = access.subscription

	before := time.Now()
	c.input.Keys = g.metadata.get(r.Context(), c.policy.Needs(c.input.Request), c.has(FaultStaleMetadata))
	c.verdict = c.policy.Evaluate(c.input)
	c.record.Durations.PolicyMS = millis(time.Since(before))
	c.record.Rules, c.record.Token, c.record.Error = c.verdict.Rules, c.verdict.Token, c.verdict.Error
	switch {
	case c.verdict.Answer != nil:
		c.record.Stage = "policy"
		c.answer(c.verdict.Answer)
	case !c.verdict.Forward:
		c.record.Stage = "policy"
		c.answer(&policy.Response{Status: http.StatusOK})
	default:
		c.record.Stage = "backend"
		g.proxy.forward(c)
	}
}

// fail sends an error of the gateway itself, through the section on-error.
func (c *call) fail(stage string, e policy.LastError, answer *policy.Response) {
	c.record.Stage, c.record.Error = stage, &e
	if c.policy != nil {
		c.record.Rules = append(c.record.Rules, c.policy.OnError(answer, c.input)...)
	}
	c.answer(answer)
}

// answer sends what the gateway itself has to say.
func (c *call) answer(answer *policy.Response) {
	header := c.w.Header()
	maps.Copy(header, c.verdict.Header)
	maps.Copy(header, answer.Header)
	hasBody := answer.Status != http.StatusNoContent && answer.Status != http.StatusNotModified
	if hasBody {
		header.Set("Content-Length", strconv.Itoa(len(answer.Body)))
	}
	c.w.WriteHeader(answer.Status)
	if hasBody && c.r.Method != http.MethodHead {
		_, _ = io.WriteString(c.w, answer.Body) // the caller may be gone
	}
}

// internalError is the answer to whatever goes wrong behind the gateway.
func (c *call) internalError(reason, message string) {
	body := fmt.Sprintf(`{ "statusCode": 500, "message": "Internal server error", "activityId": "%s" }`, c.record.ID)
	c.fail("gateway", policy.LastError{Source: "forward-request", Reason: reason, Message: message, Section: "backend", Path: "forward-request"},
		&policy.Response{Status: http.StatusInternalServerError, Header: http.Header{"Content-Type": {"application/json"}}, Body: body})
}

// realm is the address of the API.
func (c *call) realm() string {
	scheme := "http"
	if c.r.TLS != nil {
		scheme = "https"
	}
	return scheme + "://" + c.r.Host + "/" + strings.Trim(c.api.Path, "/")
}

// shownQuery is the query with the values of credentials replaced.
func (c *call) shownQuery() string {
	if c.r.URL.RawQuery == "" {
		return ""
	}
	hidden := []string{DefaultKeyQuery, "code", "sig", "access_token", "token"}
	if c.api != nil {
		hidden = append(hidden, c.api.KeyQuery)
	}
	if c.policy != nil {
		hidden = append(hidden, c.policy.TokenParameters()...)
	}
	parts := strings.Split(c.r.URL.RawQuery, "&")
	for i, part := range parts {
		name, _, _ := strings.Cut(part, "=")
		plain, err := url.QueryUnescape(name)
		if err != nil {
			plain = name
		}
		if slices.ContainsFunc(hidden, func(h string) bool { return strings.EqualFold(h, plain) }) {
			parts[i] = name + "=REDACTED"
		}
	}
	return strings.Join(parts, "&")
}

// newID makes a GUID (version 4), as context.RequestId is one.
func newID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	h := hex.EncodeToString(b[:])
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}

func millis(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func (c *call) has(fault string) bool {
	_, on := c.faults[fault]
	return on
}

// endsByFault does what the faults ask for before routing. It reports whether the request has ended.
func (c *call) endsByFault() bool {
	wait := func(f met, until <-chan time.Time) bool {
		select {
		case <-c.r.Context().Done():
			c.record.Stage = "fault"
			return false
		case <-f.free:
		case <-until:
		}
		return true
	}
	if f, on := c.faults[FaultLatency]; on {
		c.record.Fault = FaultLatency
		timer := time.NewTimer(time.Duration(f.DelayMS) * time.Millisecond)
		defer timer.Stop()
		if !wait(f, timer.C) {
			return true
		}
	}
	switch {
	case c.has(FaultHang):
		c.record.Fault = FaultHang
		return !wait(c.faults[FaultHang], nil)
	case c.has(FaultReset):
		c.record.Fault, c.record.Stage = FaultReset, "fault"
		c.w.reset()
		return true
	case c.has(FaultResetInBody):
		c.record.Fault = FaultResetInBody
	case c.has(FaultGarbage):
		c.record.Fault, c.record.Stage = FaultGarbage, "fault"
		c.w.garbage()
		return true
	case c.has(FaultStatus):
		f := c.faults[FaultStatus]
		c.record.Fault, c.record.Stage = FaultStatus, "fault"
		answer := policy.ErrorResponse(f.Status, http.StatusText(f.Status))
		if f.RetryAfter != "" {
			answer.Header.Set("Retry-After", f.RetryAfter)
		}
		c.answer(answer)
		return true
	}
	return false
}
