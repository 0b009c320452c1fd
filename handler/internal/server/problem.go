package server

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"math"
	"net/http"
	"slices"
	"strconv"

	"apimrelay/handler/internal/cause"
	"apimrelay/handler/internal/invocation"
	"apimrelay/handler/internal/relay"
	"apimrelay/handler/internal/settings"
	"apimrelay/handler/internal/target"
	"apimrelay/handler/internal/token"
)

// A problem is an answer of our own (RFC 9457). Its texts are for callers, who learn the code and the invocation id and nothing about the app; the log
// line of the same invocation has the reason.
type problem struct {
	code   string
	status int
	title  string
}

// problems are all there are. The codes are stable.
var problems = []problem{
	{"settings", 500, "the function's settings are incomplete or wrong"},
	{"identity-refused", 500, "the identity was refused a token"},
	{"identity-unavailable", 503, "no token can be had at the moment"},
	{"gateway-unreachable", 502, "the gateway gave no answer"},
	{"budget-spent", 504, "the gateway gave no answer in time"},
	{"bad-path", 400, "the path cannot be relayed"},
	{"no-route", 404, "no function has this route"},
	{"method-not-allowed", 405, "TRACE and CONNECT are not relayed"},
	{"bad-invocation", 500, "the invocation cannot be read"},
	{"already-sent", 409, "the call was already sent, and its outcome is not known"},
	{"body-lost", 411, "the host drops chunked uploads of wrapped calls: send a Content-Length, or set enableProxyingHttpRequest in host.json"},
	{"too-large", 413, "the body is too large for a wrapped call: set enableProxyingHttpRequest in host.json"},
	{"body-damaged", 415, "the host changed the body of a wrapped call: set enableProxyingHttpRequest in host.json"},
	{"cannot-carry", 502, "the answer does not fit into a wrapped call: set enableProxyingHttpRequest in host.json"},
	{"upload-broken", 400, "the request's body broke off"},
	{"caller-left", 499, "the caller left"},
	{"internal", 500, "the handler failed"},
}

// problemFor is the problem of a code that is one of them.
func problemFor(code string) problem {
	i := slices.IndexFunc(problems, func(p problem) bool { return p.code == code })
	return problems[i]
}

// answerCut is the code, in the log alone, of an answer that broke off behind its header.
const answerCut = "answer-cut"

// Faults of the server's own, mapped like those of other packages.
var (
	errSettings = errors.New("relaying: the function's settings are at fault: see the log of the start, or doctor")
	errMethod   = errors.New("relaying: TRACE and CONNECT would give credentials away")
	errNoRoute  = errors.New("relaying: no function of this app takes this method and path")

	errBadInvocation = errors.New("reading the invocation")
	errNotDone       = errors.New("relaying the event")
)

// problemCodes is the only place where errors become answers; the first that fits counts.
var problemCodes = []struct {
	fits func(error) bool
	code string
}{
	{sentinel(errSettings), "settings"},
	{sentinel(errNoRoute), "no-route"},
	{sentinel(errMethod), "method-not-allowed"},
	{sentinel(token.ErrRefused), "identity-refused"},
	{sentinel(token.ErrUnavailable), "identity-unavailable"},
	{sentinel(relay.ErrBudgetSpent), "budget-spent"},
	{sentinel(relay.ErrAlreadySent), "already-sent"},
	{sentinel(invocation.ErrBodyLost), "body-lost"},
	{sentinel(invocation.ErrBodyDamaged), "body-damaged"},
	{sentinel(invocation.ErrTooLarge), "too-large"},
	{sentinel(context.Canceled), "caller-left"},
	{is[*target.PathError], "bad-path"},
	{is[*relay.GatewayError], "gateway-unreachable"},
	{is[*relay.UploadError], "upload-broken"},
	{is[*invocation.CannotCarryError], "cannot-carry"},
	{sentinel(errBadInvocation), "bad-invocation"},
}

func problemOf(err error) problem {
	for _, c := range problemCodes {
		if c.fits(err) {
			return problemFor(c.code)
		}
	}
	return problemFor("internal")
}

func sentinel(target error) func(error) bool {
	return func(err error) bool { return errors.Is(err, target) }
}

func is[E error](err error) bool {
	_, ok := errors.AsType[E](err)
	return ok
}

// causeOf names why an invocation failed, for the log: as whoever found out says it, else by the code
// of our answer or the class of the refusal. It is "" for an invocation that did not fail, and where
// only the status of the answer is known.
func causeOf(err error, f *settings.Function, problem string, class relay.Refusal) cause.Code {
	if code := token.CodeOf(err); code != "" {
		return code
	}
	if e, ok := errors.AsType[*relay.GatewayError](err); ok {
		return cause.OfNetwork(e.Err)
	}
	if errors.Is(err, errSettings) && f != nil && len(f.Faults) > 0 {
		return f.Faults[0].Cause
	}
	return cmp.Or(cause.OfProblem(problem), cause.OfRefusal(string(class)))
}

// hintOf says for the log how a failure is mended, "" where its own text does. Callers do not see it.
func hintOf(err error) string {
	if hint := token.Hint(err); hint != "" {
		return hint
	}
	switch problemOf(err).code {
	case "gateway-unreachable":
		return "check that ApimUrl names the gateway and that it can be reached from here: its name, the network, its certificate; doctor tells which"
	case "budget-spent":
		return "the gateway or its backend is slow, or ApimTimeout or functionTimeout is too short for it"
	}
	return ""
}

// problem answers a request with the problem that err is. The header of w is unsent; w is the
// exchange, or the envelope that it will send.
func (s *Server) problem(w http.ResponseWriter, x *exchange, method string, err error) {
	s.answerProblem(w, x, method, problemOf(err), err)
}

func (s *Server) answerProblem(w http.ResponseWriter, x *exchange, method string, p problem, err error) {
	x.problem, x.err = p.code, err
	title := p.title
	if e, ok := errors.AsType[*invocation.CannotCarryError](err); ok {
		title = "a wrapped call cannot carry " + e.What + "; set enableProxyingHttpRequest in host.json"
	}
	body, _ := json.Marshal(struct { // cannot fail: strings and a number
		Title    string `json:"title"`
		Status   int    `json:"status"`
		Code     string `json:"code"`
		Instance string `json:"instance,omitempty"`
	}{title, p.status, p.code, x.call.InvocationID})
	h := w.Header()
	clear(h)
	h.Set("Content-Type", "application/problem+json")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	h.Set("Cache-Control", "no-store")
	if x.call.InvocationID != "" {
		h[relayInvocation] = []string{x.call.InvocationID}
	}
	if e, ok := errors.AsType[*token.Error](err); ok && p.code == "identity-unavailable" {
		h.Set("Retry-After", strconv.Itoa(max(1, int(math.Ceil(e.RetryAfter.Seconds())))))
	}
	w.WriteHeader(p.status)
	if method != http.MethodHead {
		_, _ = w.Write(body)
	}
}
