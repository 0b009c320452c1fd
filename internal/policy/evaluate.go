package policy

import (
	"crypto"
	"net/http"
	"time"
)

// Request is the part of a request that policies read and change.
type Request struct {
	ID         string // context.RequestId
	Method     string
	Path       string      // escaped, for traces only
	Header     http.Header // canonical names, as net/http makes them
	RawQuery   string
	RemoteAddr string // IP address, or "address:port"
}

// Input is all that an evaluation needs. The zero value of each field is allowed; the fields' comments say what it means.
type Input struct {
	Request Request
	// Now is the gateway's clock.
	Now time.Time
	// Keys holds the metadata of each address that Policy.Needs lists. An absent one counts as not fetched.
	Keys map[string]Metadata
	// Certificates holds the public keys of certificates uploaded to the gateway, by certificate-id.
	Certificates map[string]crypto.PublicKey
	// Offline is doctor's mode: signing keys are unknown, so that the signature is "not checked", and issuers are derived from the metadata's
	// address where Keys lacks it and the address is one of Entra's. A gateway never sets it.
	Offline bool
	// Claims stands for the token where only its claims are known; header, scheme and signature are then "not checked". Implies Offline.
	Claims map[string]any
	// Limits counts for rate-limit; nil counts nothing.
	Limits *Limits
	// Subscription names the counter: rate-limit counts only requests that carry a subscription key. "" means that this one does not.
	Subscription string
}

// Verdict is what the gateway does with a request.
type Verdict struct {
	// Pass: inbound let the request through. It goes to the backend if Forward is true as well.
	Pass bool `json:"pass"`
	// Answer is the gateway's own answer; nil where the request goes on.
	Answer *Response `json:"answer,omitempty"`
	// Error is set on refusals, nil where a return-response answered.
	Error *LastError `json:"error,omitempty"`
	// Forward: the backend section holds a forward-request. Without one the service answers 200 with no body.
	Forward bool `json:"forward"`
	// Timeout bounds the wait for the backend's header.
	Timeout time.Duration `json:"-"`
	// Request is the request as the backend gets it; header and query are copies.
	Request Request `json:"-"`
	// Header is added to whatever answer the caller gets, before the section outbound runs (rate-limit's counters).
	Header http.Header `json:"-"`
	// Token holds the public facts of the last token that was read.
	Token *Facts `json:"token,omitempty"`
	// Rules is the trace, in the order of evaluation.
	Rules []Rule `json:"rules"`
}

// evaluation is one run. Statements change it.
type evaluation struct {
	Input
	place    placed
	verdict  *Verdict
	request  *Request  // as changed so far
	response *Response // in outbound and on-error
}

// Evaluate runs inbound and backend on a request, and on-error where a statement refuses. It never fails: what goes wrong is a refusal.
// It does not change its input.
func (p *Policy) Evaluate(in Input) Verdict {
	v := Verdict{Request: in.Request, Header: http.Header{}}
	v.Request.Header = in.Request.Header.Clone()
	if v.Request.Header == nil {
		v.Request.Header = http.Header{}
	}
	if in.Claims != nil {
		in.Offline = true
	}
	e := &evaluation{Input: in, verdict: &v, request: &v.Request}
	v.Pass = e.run(p.sections[Inbound])
	if v.Pass && !e.run(p.sections[Backend]) {
		v.Pass = false
	}
	if v.Error != nil {
		v.Rules = append(v.Rules, p.OnError(v.Answer, in)...)
	}
	return v
}

// Outbound runs the section outbound on a backend's answer, which it changes in place. Answered reports that a return-response took its place:
// the backend's body is then to be dropped.
func (p *Policy) Outbound(r *Response, in Input) (rules []Rule, answered bool) {
	return p.respond(Outbound, r, in)
}

// OnError runs the section on-error on an error's answer, which it changes in place. Evaluate has done so for its own refusals.
func (p *Policy) OnError(r *Response, in Input) []Rule {
	rules, _ := p.respond(OnError, r, in)
	return rules
}

func (p *Policy) respond(s Section, r *Response, in Input) (rules []Rule, answered bool) {
	if r.Header == nil {
		r.Header = http.Header{}
	}
	v := Verdict{Header: http.Header{}}
	e := &evaluation{Input: in, verdict: &v, request: &Request{Header: in.Request.Header.Clone(), RawQuery: in.Request.RawQuery}, response: r}
	e.run(p.sections[s])
	if v.Answer != nil {
		*r = *v.Answer
	}
	return v.Rules, v.Answer != nil
}

// run runs statements until one ends the section, and notes the rest as not run.
func (e *evaluation) run(statements []placed) bool {
	for i, s := range statements {
		e.place = s
		if !s.statement.run(e) {
			for _, rest := range statements[i+1:] {
				e.place = rest
				e.note(Rule{Result: NotRun, Why: "<" + s.name + "> ended the section"})
			}
			return false
		}
	}
	return true
}

// note writes a rule into the trace, with the place of the running statement.
func (e *evaluation) note(r Rule) {
	r.Scope, r.Section, r.Statement, r.File, r.Line = e.place.scope, e.place.section, e.place.name, e.place.file, e.place.line
	e.verdict.Rules = append(e.verdict.Rules, r)
}

// refuse ends the request with an error and the answer for it.
func (e *evaluation) refuse(reason, message string, answer *Response) {
	e.verdict.Error = &LastError{
		Source: e.place.name, Reason: reason, Message: message, Scope: string(e.place.scope), Section: string(e.place.section), Path: e.place.name,
		PolicyID: e.place.id,
	}
	e.verdict.Answer = answer
}

// header returns the header that set-header works on.
func (e *evaluation) header() http.Header {
	if e.response != nil {
		return e.response.Header
	}
	return e.request.Header
}
