package policy

import (
	"fmt"
	"iter"
	"net/http"
	"slices"
	"strings"
)

// Sources are the documents that apply to one operation, as far as they are at hand, read by Read.
type Sources struct {
	Scopes
	// Fragments holds the policy fragments by their id. Nil means that none were given; an empty map,
	// that there are none.
	Fragments map[string]*Document
}

// Judgement is what can be said of a request and of policies that are not interpreted as a whole.
type Judgement struct {
	// Rules are those of the statements that are judged, in the order of the documents. Each names the
	// condition under which it holds.
	Rules []Rule
	// Notes are the statements that may change the outcome.
	Notes []Note
	// Skipped are the other statements of the section inbound: nobody looked at them.
	Skipped []Place
	// Unknown are the places where a check may stand that is not at hand: policies of wider scopes, and
	// fragments.
	Unknown []Note
	// Checks reports whether any statement that is judged checks a token, Always whether one does so
	// whatever the conditions come to.
	Checks, Always bool
}

// Place is where a statement stands.
type Place struct {
	Statement string // the element's name
	File      string
	Line      int
}

// Note says one thing of one statement.
type Note struct {
	Place
	When string // as Rule.When
	Text string // one sentence, lower case
}

// Judge holds a request against the checks of tokens and headers in the section inbound, wherever they
// stand: validate-jwt, validate-azure-ad-token and check-header. It takes any policy. What it cannot
// know, since an expression or a named value without a value decides it, is CannotTell. A rule is
// judged as if every statement before it had let the request pass.
//
// The request's header holds what the caller is known to send; others may be there as well. Keys of
// issuers are not known here: the signature is NotChecked.
func (s Sources) Judge(namedValues map[string]string, in Input) Judgement {
	in.Offline = true
	w := &walker{sources: s, values: namedValues, in: in, changes: map[string][]change{}}
	chain := []link{{Global, s.Global}, {Product, s.Product}, {API, s.API}, {Operation, s.Operation}}
	w.j.Always = w.scope(chain, len(chain)-1, nil)
	for _, l := range chain {
		if l.document != nil {
			w.scopeName = l.scope
			w.onError(l.document.sections[OnError], nil)
		}
	}
	return w.j
}

// walker walks the section inbound in the order in which a request meets its statements.
type walker struct {
	sources   Sources
	values    map[string]string
	in        Input
	j         Judgement
	scopeName Scope
	fragments []string            // that are being walked
	changes   map[string][]change // of request headers, by canonical name
	ended     [][]branch          // the ways on which an answer has ended the section
}

// change is a statement that sets or removes a request header.
type change struct {
	place   Place
	removes bool
	under   []branch
}

// branch is one way through a choose.
type branch struct {
	choose *element
	number int
	words  string // "line 12 holds"
}

// scope walks the section inbound of one scope and reports whether a check of the token is certain.
func (w *walker) scope(chain []link, i int, under []branch) bool {
	for i >= 0 && (chain[i].document == nil || chain[i].document.sections[Inbound] == nil) {
		i--
	}
	if i < 0 {
		return false
	}
	before := w.scopeName
	w.scopeName = chain[i].scope
	defer func() { w.scopeName = before }()
	certain := false
	for _, e := range chain[i].document.sections[Inbound].children {
		if e.name != "base" {
			certain = w.statement(e, under) || certain
			continue
		}
		w.missing(e, chain[:i], under)
		certain = w.scope(chain, i-1, under) || certain
		w.scopeName = chain[i].scope
	}
	return certain
}

// missing notes the wider scopes whose policies were not given where <base /> stands.
func (w *walker) missing(base *element, wider []link, under []branch) {
	var flags []string
	for _, l := range wider {
		if l.document == nil && l.scope != API {
			flags = append(flags, "-"+string(l.scope)+"-policy")
		}
	}
	if len(flags) == 0 || slices.ContainsFunc(w.j.Unknown, func(n Note) bool { return n.Statement == base.name }) {
		return
	}
	w.j.Unknown = append(w.j.Unknown, Note{
		Place: placeOf(base), When: when(under),
		Text: "the policies of the scopes above were not given: " + strings.Join(flags, " FILE, ") + " FILE",
	})
}

func placeOf(e *element) Place { return Place{e.name, e.file, e.line} }

// statements walks what stands in a container and reports whether a check of the token is certain.
func (w *walker) statements(e *element, under []branch) bool {
	certain := false
	for _, c := range e.children {
		certain = w.statement(c, under) || certain
	}
	return certain
}

// statement walks one statement and reports whether it is certain to check the token, given that it
// is reached.
func (w *walker) statement(e *element, under []branch) bool {
	switch e.name {
	case "validate-jwt", "validate-azure-ad-token":
		w.j.Checks = true
		w.rules(e, under, w.token(e, under))
		return true
	case "check-header":
		w.rules(e, under, []Rule{w.header(e, under)})
	case "choose":
		return w.choose(e, under)
	case "limit-concurrency", "retry", "wait":
		// What stands in them runs at least once
		// (https://learn.microsoft.com/azure/api-management/retry-policy).
		return w.statements(e, under)
	case "include-fragment":
		return w.fragment(e, under)
	case "set-header":
		w.setHeader(e, under)
	case "authentication-managed-identity":
		// With a variable for its token it leaves the request as it is
		// (https://learn.microsoft.com/azure/api-management/authentication-managed-identity-policy).
		if e.attr("output-token-variable-name") != "" {
			w.skip(e)
			break
		}
		w.changed("Authorization", change{place: placeOf(e), under: under})
	case "authentication-basic":
		w.changed("Authorization", change{place: placeOf(e), under: under})
	case "return-response", "mock-response":
		w.answers(e, under)
	case "base":
	default:
		w.skip(e)
	}
	return false
}

func (w *walker) skip(e *element) { w.j.Skipped = append(w.j.Skipped, placeOf(e)) }

// choose walks every branch. A check is certain where each branch has one, otherwise included.
func (w *walker) choose(e *element, under []branch) bool {
	certain, otherwise := true, false
	for _, c := range e.children {
		otherwise = otherwise || c.name == "otherwise"
	}
	for b, inside := range branches(e) {
		certain = w.statements(inside, append(slices.Clone(under), b)) && certain
	}
	return certain && otherwise
}

// branches yields the branches of a choose, each with its element, and says of each when it is taken.
func branches(e *element) iter.Seq2[branch, *element] {
	return func(yield func(branch, *element) bool) {
		var lines []string
		for i, c := range e.children {
			words := fmt.Sprintf("line %d holds", c.line)
			if c.name == "otherwise" {
				words = fmt.Sprintf("%s (<otherwise>, line %d)", fails(lines), c.line)
			} else if len(lines) > 0 {
				words += " and " + fails(lines)
			}
			lines = append(lines, fmt.Sprint(c.line))
			if !yield(branch{e, i, words}, c) {
				return
			}
		}
	}
}

// fails says that the conditions of some lines do not hold.
func fails(lines []string) string {
	switch len(lines) {
	case 0:
		return "always"
	case 1:
		return "line " + lines[0] + " does not hold"
	}
	return "none of lines " + strings.Join(lines, ", ") + " holds"
}

// when says under which conditions a statement is reached.
func when(under []branch) string {
	words := make([]string, len(under))
	for i, b := range under {
		words[i] = b.words
	}
	if len(words) == 0 {
		return ""
	}
	return "if " + strings.Join(words, ", and ")
}

func (w *walker) fragment(e *element, under []branch) bool {
	id := e.attr("fragment-id")
	if w.sources.Fragments == nil {
		w.j.Unknown = append(w.j.Unknown, Note{
			Place: placeOf(e), When: when(under), Text: "the fragment " + clip(id) + " was not given: -fragments DIR",
		})
		return false
	}
	d := w.sources.Fragments[id]
	if d == nil || d.sections[Inbound] == nil || slices.Contains(w.fragments, id) {
		w.j.Skipped = append(w.j.Skipped, Place{"include-fragment " + clip(id), e.file, e.line})
		return false
	}
	w.fragments = append(w.fragments, id)
	defer func() { w.fragments = w.fragments[:len(w.fragments)-1] }()
	return w.statements(d.sections[Inbound], under)
}

// setHeader notes what happens to a header of the request. A value that is there stays under "skip":
// https://learn.microsoft.com/azure/api-management/set-header-policy
func (w *walker) setHeader(e *element, under []branch) {
	name := http.CanonicalHeaderKey(e.attr("name"))
	if name != "Authorization" {
		w.skip(e)
	}
	if e.attr("exists-action") == "skip" && len(w.in.Request.Header[name]) > 0 {
		return
	}
	w.changed(name, change{place: placeOf(e), removes: e.attr("exists-action") == "delete", under: under})
}

func (w *walker) changed(header string, c change) {
	w.changes[header] = append(w.changes[header], c)
}

// before returns the changes of a header that a statement meets: the last one that is certain, and
// those after it that are not. A change in another branch of the same choose is none.
func (w *walker) before(header string, under []branch) (certain *change, possible []change) {
	for _, c := range w.changes[header] {
		switch relate(c.under, under) {
		case always:
			certain, possible = &c, nil
		case sometimes:
			possible = append(possible, c)
		}
	}
	return certain, possible
}

type relation int

const (
	always relation = iota
	sometimes
	never
)

// relate says whether what stands under some branches has run where a later statement runs.
func relate(earlier, later []branch) relation {
	for i, b := range earlier {
		if i >= len(later) || later[i].choose != b.choose {
			return sometimes
		}
		if later[i].number != b.number {
			return never
		}
	}
	return always
}

// note adds a note once.
func (w *walker) note(n Note) {
	if !slices.Contains(w.j.Notes, n) {
		w.j.Notes = append(w.j.Notes, n)
	}
}

// answers notes a statement that answers in the API's place.
func (w *walker) answers(e *element, under []branch) {
	with := ""
	if status := e.child("set-status"); status != nil && !expression(status.attr("code")) {
		with = " with " + clip(status.attr("code"))
	}
	n := Note{Place: placeOf(e), When: when(under), Text: "it answers" + with + ": what stands behind it is not reached"}
	if len(under) > 0 {
		n.Text = "it may answer" + with + " before what stands behind it"
	}
	w.note(n)
	w.ended = append(w.ended, under)
}

// reached reports whether a statement can be reached: no answer stands before it on every way.
func (w *walker) reached(under []branch) bool {
	return !slices.ContainsFunc(w.ended, func(way []branch) bool { return relate(way, under) == always })
}

// rules adds the rules of one statement, with its place and its condition.
func (w *walker) rules(e *element, under []branch, all []Rule) {
	if !w.reached(under) {
		all = []Rule{{Result: NotRun, Why: "a statement before it answers in its place"}}
	}
	for _, r := range all {
		r.Scope, r.Section, r.Statement, r.File, r.Line = w.scopeName, Inbound, e.name, e.file, e.line
		r.When = when(under)
		w.j.Rules = append(w.j.Rules, r)
	}
}

// onError notes what may replace the gateway's own answers.
func (w *walker) onError(e *element, under []branch) {
	if e == nil {
		return
	}
	for _, c := range e.children {
		switch c.name {
		case "choose":
			for b, inside := range branches(c) {
				w.onError(inside, append(slices.Clone(under), b))
			}
		case "return-response", "mock-response", "set-body", "set-status":
			w.note(Note{Place: placeOf(c), When: when(under), Text: "on-error replaces the gateway's own answers here: " +
				"a caller cannot tell by it whether the key or the token was refused"})
		case "include-fragment":
			if d := w.sources.Fragments[c.attr("fragment-id")]; d != nil && len(w.fragments) == 0 {
				w.fragments = append(w.fragments, c.attr("fragment-id"))
				w.onError(d.sections[Inbound], under)
				w.fragments = nil
			}
		}
	}
}
