package doctor

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"apimrelay/handler/internal/cause"
	"apimrelay/handler/internal/observe"
	"apimrelay/handler/internal/settings"
	"apimrelay/handler/internal/token"
	"apimrelay/internal/policy"
)

// logLine is an invocation's line, or one of the start or of a token, which have fields of their
// own.
type logLine struct {
	observe.Line
	// Level is what a tool around the line may write in its own words.
	Level    json.RawMessage `json:"level"`
	Resource string          `json:"resource"`
	Text     string          `json:"text"`
	Setting  string          `json:"setting"`
}

// Explain reads log lines of the handler and says of each what happened and why. What stands
// before a line's first brace (a console's time, a category) is left out; lines that are no JSON
// object of the handler's are counted only. Errors: none of the lines could be read.
func Explain(lines io.Reader, o Options) (*Report, error) {
	o = o.withDefaults()
	in := bufio.NewScanner(lines)
	in.Buffer(nil, 1<<20)
	redact := newRedactor(o)
	var results []Result
	read, skipped := 0, 0
	for n := 1; in.Scan(); n++ {
		text := in.Text()
		if strings.TrimSpace(text) == "" {
			continue
		}
		l, ok := parseLine(text)
		if !ok {
			skipped++
			continue
		}
		read++
		for _, r := range l.explain(o, redact) {
			results = append(results, redact.result(r))
		}
	}
	if err := in.Err(); err != nil {
		return nil, fmt.Errorf("reading log lines: %w", err)
	}
	if read == 0 {
		return nil, errors.New("reading log lines: want a JSON line of this program, with \"msg\": none of the " + strconv.Itoa(skipped) + " lines is one")
	}
	return newReport(results), nil
}

// parseLine finds the object in a line. Application Insights and the Functions host put theirs in
// front, and some tools wrap the line as a JSON text.
func parseLine(text string) (*logLine, bool) {
	for depth := 0; depth < 2; depth++ {
		at := strings.IndexByte(text, '{')
		if at < 0 {
			return nil, false
		}
		l := new(logLine)
		if json.NewDecoder(strings.NewReader(text[at:])).Decode(l) == nil {
			if l.Message != "" {
				return l, true
			}
			if !strings.HasPrefix(l.Words, "{") { // {"message":"{…}"}
				return nil, false
			}
			text = l.Words
			continue
		}
		unescaped, err := strconv.Unquote(`"` + strings.Trim(strings.TrimSpace(text[at:]), `"`) + `"`)
		if err != nil {
			return nil, false
		}
		text = unescaped
	}
	return nil, false
}

func (l *logLine) explain(o Options, redact *redactor) []Result {
	for _, text := range []*string{&l.Words, &l.Error, &l.Text, &l.Hint, &l.Message} {
		*text = redact.text(*text)
	}
	v := &visit{walk: &walk{o: o, redact: redact}, f: l.settingsOf(o)}
	functions := []string{}
	if l.Function != "" {
		functions = append(functions, l.Function)
	}
	result := func(title string, out outcome) Result {
		if out.title != "" {
			title = out.title
		}
		return Result{ID: "log", Title: title, Functions: functions, Status: out.status, Saw: out.saw, Fix: out.fix, Anchor: out.anchor}
	}
	if l.Message != "invocation" {
		return []Result{result("a line of the start", l.startLine(v))}
	}
	title := "the call"
	if l.Method != "" {
		title += " " + l.Method + " " + l.Path
	} else if l.Trigger != "" {
		title += " of the " + l.Trigger
	}
	if !l.Time.IsZero() {
		title += " at " + stamp(l.Time)
	}
	title += " went well"
	results := []Result{result(title, l.call(v))}
	if l.Token != nil {
		for _, o := range l.tokenNow(v) {
			results = append(results, result("the token, as if it were now", o))
		}
	}
	return results
}

// settingsOf finds the function's settings as they are now, for the expectations; an unknown
// function has none.
func (l *logLine) settingsOf(o Options) *settings.Function {
	for _, f := range o.Settings.Functions {
		if strings.EqualFold(f.App.Name, l.Function) {
			return f
		}
	}
	return &settings.Function{}
}

// call explains an invocation's line.
func (l *logLine) call(v *visit) outcome {
	parts := []string{strconv.Itoa(l.Status)}
	add := func(format string, args ...any) { parts = append(parts, fmt.Sprintf(format, args...)) }
	if l.Problem != "" {
		add("our own answer %s", l.Problem)
	}
	if l.Attempts > 0 {
		if l.UpstreamStatus > 0 {
			add("the gateway's last answer %d", l.UpstreamStatus)
		}
		add("%s, %s key", count(l.Attempts, "attempt"), orNone(l.Key))
	}
	if l.Refusal != "" {
		add("class %s", l.Refusal)
	}
	if l.Replays != "" {
		add("sent again with another %s", strings.ReplaceAll(l.Replays, ",", " and another "))
	}
	if l.Words != "" {
		add("the gateway says: %s", clip(l.Words))
	}
	if l.Error != "" {
		add("%s", clip(l.Error))
	}
	if l.old() {
		add("%s", earlier)
	}
	saw := strings.Join(parts, ", ")
	code := l.cause(v)
	switch {
	case code == "" && l.Status >= 400:
		return outcome{status: Warning, saw: saw, fix: "the answer is the backend's own: key and token were accepted"}
	case code == "":
		return ok("%s", saw)
	case l.Problem != "" && !slices.Contains(coarse, l.Problem):
		return warn(code, saw, v.fill())
	}
	return find(code, saw, v.fill())
}

// coarse are the problems that stand for many causes. The others say all there is to say, and most
// are for the caller to mend: warnings.
var coarse = []string{"settings", "identity-refused", "identity-unavailable", "gateway-unreachable"}

// old reports whether an earlier version wrote the line, which named no cause.
func (l *logLine) old() bool {
	return l.Cause == "" && (l.Problem != "" || l.Refusal != "" || l.Message == "fault" || l.Message == "token request failed")
}

// cause is what the line says of itself, or what follows from it; "" where the call went through.
func (l *logLine) cause(v *visit) cause.Code {
	if l.Refusal == "token-refused" {
		return l.tokenAnchor(v)
	}
	for _, code := range []cause.Code{cause.Code(l.Cause), cause.OfRefusal(l.Refusal), cause.OfProblem(l.Problem)} {
		if cause.Of(code) != nil { // a later version may know more causes
			return code
		}
	}
	if l.Problem != "" {
		return ""
	}
	return cause.OfStatus(l.UpstreamStatus)
}

// tokenAnchor looks for the cause in what the line says of the token, as it was then.
func (l *logLine) tokenAnchor(v *visit) cause.Code {
	if l.Token == nil {
		return cause.TokenRefused
	}
	f := l.facts()
	if a := messageAnchor(l.Words, f); a != "" {
		return a
	}
	for _, o := range []outcome{v.timeOf(f, l.Time), v.tenantOf(f), v.audienceOf(f), v.roleOf(f)} {
		if o.status == Finding && !l.Time.IsZero() || o.status == Finding && o.anchor != cause.TokenTime {
			return o.anchor
		}
	}
	if v.o.Policies != nil && len(v.o.Policies.Faults) == 0 {
		for _, o := range l.policy(v) {
			if o.status == Finding {
				return o.anchor
			}
		}
		return cause.TokenSignature
	}
	return cause.TokenRefused
}

func (l *logLine) facts() token.Facts {
	t := l.Token
	return token.Facts{
		Hash: t.Hash, Issuer: t.Issuer, Audience: strings.Fields(t.Audience), Roles: strings.Fields(t.Roles), Scope: t.Scope, TenantID: t.TenantID,
		ClientID: t.ClientID, Version: t.Version, IssuedAt: t.IssuedAt, ExpiresOn: t.ExpiresOn,
	}
}

// tokenNow judges the token of the line with today's settings, policy and clock.
func (l *logLine) tokenNow(v *visit) []outcome {
	f := l.facts()
	facts := ok("%s", described(f))
	facts.title = "the refused token " + orNone(f.Hash)
	all := []outcome{facts}
	for _, one := range []struct {
		title string
		o     outcome
	}{
		{"now: the token comes from TargetTenantID", v.tenantOf(f)}, {"now: the token is for TargetApp", v.audienceOf(f)},
		{"now: the token is valid", v.timeOf(f, v.o.Now())}, {"now: the token carries the role that the API wants", v.roleOf(f)},
	} {
		one.o.title = one.title
		if one.o.anchor == cause.TokenTime {
			// That a token of the past has ended is no finding about now.
			one.o = notRun(one.o.saw + ": a new one is in its place")
			one.o.title = one.title
		}
		all = append(all, one.o)
	}
	if v.o.Policies != nil && len(v.o.Policies.Faults) == 0 {
		for _, o := range l.policy(v) {
			if o.anchor == cause.TokenTime {
				o.status, o.anchor, o.fix = NotRun, "", ""
			}
			o.title = "now: " + o.title
			all = append(all, o)
		}
	}
	return all
}

// policy walks the policy with the claims of the line. The line has not all claims: what it lacks
// is not there.
func (l *logLine) policy(v *visit) []outcome {
	f := l.facts()
	claims := map[string]any{"iss": f.Issuer, "tid": f.TenantID, "ver": f.Version, "azp": f.ClientID, "appid": f.ClientID}
	if len(f.Audience) > 0 {
		claims["aud"] = f.Audience
	}
	if len(f.Roles) > 0 {
		claims["roles"] = f.Roles
	}
	if f.Scope != "" {
		claims["scp"] = f.Scope
	}
	if !f.ExpiresOn.IsZero() {
		claims["exp"] = f.ExpiresOn.Unix()
	}
	if !f.IssuedAt.IsZero() {
		claims["iat"] = f.IssuedAt.Unix()
	}
	now := v.o.Now()
	if !l.Time.IsZero() {
		now = l.Time
	}
	return v.explain(v.o.Policies.Sources.Judge(v.o.Policies.NamedValues, policy.Input{Now: now, Claims: claims}), f)
}

// earlier is said of a line without a cause where the cause cannot be had from the rest of it.
const earlier = "an earlier version of this program wrote the line, and named no cause"

// startLine explains a line about the start, or about a token.
func (l *logLine) startLine(v *visit) outcome {
	switch l.Message {
	case "fault", "notice":
		text := l.Text
		if text == "" {
			text = l.Error
		}
		o := outcome{status: Warning, title: "the app starts without a notice", saw: clip(text), fix: l.Hint}
		if l.Message == "fault" {
			o.status, o.title = Finding, "the app starts without a fault"
		}
		if code := cause.Code(l.Cause); cause.Of(code) != nil {
			o.anchor = code
		} else {
			o.saw += ", " + earlier
		}
		return o
	case "token request failed":
		code, saw := cause.Code(l.Cause), clip(l.Error)
		if cause.Of(code) == nil {
			code, saw = cause.TokenUnavailable, saw+", "+earlier
		}
		o := find(code, saw, v.fill()).fixed(l.Hint)
		o.title = "a token for " + orNone(l.Resource) + " can be had"
		return o
	}
	o := ok("%s", clip(l.Message))
	o.title = "nothing to explain"
	return o
}
