package observe

import (
	"context"
	"log/slog"
	"time"
)

// Line is the line that is logged for each invocation, failed ones included: the server writes it,
// and the doctor reads it. The keys are stable, and named in the tags. A field that says nothing is
// left out of the line, but for status and duration_ms, and for upstream_status, attempts,
// upstream_ms and key where there was an attempt. No field holds a secret.
type Line struct {
	Time    time.Time  `json:"time"`  // zero = when it is written
	Level   slog.Level `json:"level"` // see the host's streams at NewHandler
	Message string     `json:"msg"`   // always "invocation"

	// What the host called.
	Function     string  `json:"function"`
	InvocationID string  `json:"invocation_id"`
	Way          string  `json:"way"`         // proxied, forwarded, wrapped or event
	Trigger      string  `json:"trigger"`     // type of function.json, such as httpTrigger
	Method       string  `json:"method"`      // HTTP only
	Path         string  `json:"path"`        // HTTP only; a query may hold a function key
	Status       int     `json:"status"`      // that the caller got
	DurationMS   float64 `json:"duration_ms"` // from the host's request to the end of the answer
	TraceID      string  `json:"trace_id"`    // 32 hexadecimal digits

	// What became of it at the gateway.
	Attempts       int     `json:"attempts"`        // requests sent to the gateway
	UpstreamStatus int     `json:"upstream_status"` // of the last answer; 0 = there was none
	UpstreamMS     float64 `json:"upstream_ms"`     // from the first request to the last header
	Key            string  `json:"key"`             // of the last one: primary, secondary or none
	Replays        string  `json:"replays"`         // what was exchanged, with commas: key, token
	Refusal        string  `json:"refusal"`         // class of the last answer 401 or 403
	Words          string  `json:"message"`         // the gateway's own, of a refusal
	Token          *Token  `json:"token"`           // that was refused
	DroppedHeaders string  `json:"dropped_headers"` // names, with commas
	// RefusedForGood: no repetition can change the answer, and the event is in the output named
	// refused. Events only.
	RefusedForGood bool `json:"refused_for_good"`

	// Why it failed.
	Problem string `json:"problem"` // code of our own answer
	Cause   string `json:"cause"`   // code of package cause, and the doctor's anchor
	Error   string `json:"error"`
	Hint    string `json:"hint"`
}

// invocation is the message of a Line.
const invocation = "invocation"

// Token is what may be said of an access token: nothing of it lets anybody in. Texts are "" and
// times zero where the token does not have the claim; several values of a claim have blanks between
// them.
type Token struct {
	Hash      string    `json:"hash"` // the first 12 hexadecimal digits of the token's SHA-256
	Issuer    string    `json:"iss"`
	Audience  string    `json:"aud"`
	Roles     string    `json:"roles"`
	Scope     string    `json:"scp"`
	TenantID  string    `json:"tid"`
	ClientID  string    `json:"client_id"`
	Version   string    `json:"ver"`
	IssuedAt  time.Time `json:"iat"`
	ExpiresOn time.Time `json:"exp"`
}

// Log writes the line at its level.
func (l *Line) Log(ctx context.Context, log *slog.Logger) {
	if !log.Enabled(ctx, l.Level) {
		return
	}
	at := l.Time
	if at.IsZero() {
		at = time.Now()
	}
	// LogAttrs would look for the line of code that calls it, which nobody prints.
	record := slog.NewRecord(at, l.Level, invocation, 0)
	record.AddAttrs(l.attrs()...)
	_ = log.Handler().Handle(ctx, record)
}

func (l *Line) attrs() []slog.Attr {
	all := make(attrs, 0, 24)
	all.text("function", l.Function)
	all.text("invocation_id", l.InvocationID)
	all.text("way", l.Way)
	all.text("trigger", l.Trigger)
	all.text("method", l.Method)
	all.text("path", l.Path)
	all = append(all, slog.Int("status", l.Status))
	if l.Attempts > 0 {
		all = append(all, slog.Int("upstream_status", l.UpstreamStatus),
			slog.Int("attempts", l.Attempts), slog.Float64("upstream_ms", l.UpstreamMS),
			slog.String("key", l.Key))
	}
	all.text("refusal", l.Refusal)
	all.text("replays", l.Replays)
	if l.Token != nil {
		all = append(all, slog.Any("token", *l.Token))
	}
	all.text("dropped_headers", l.DroppedHeaders)
	if l.RefusedForGood {
		all = append(all, slog.Bool("refused_for_good", true))
	}
	all.text("problem", l.Problem)
	all.text("cause", l.Cause)
	all.text("error", l.Error)
	all.text("hint", l.Hint)
	all.text("message", l.Words)
	all.text("trace_id", l.TraceID)
	return append(all, slog.Float64("duration_ms", l.DurationMS))
}

// LogValue implements slog.LogValuer: one group of the claims that are there.
func (t Token) LogValue() slog.Value {
	all := attrs{slog.String("hash", t.Hash)}
	all.text("iss", t.Issuer)
	all.text("aud", t.Audience)
	all.text("roles", t.Roles)
	all.text("scp", t.Scope)
	all.text("tid", t.TenantID)
	all.text("client_id", t.ClientID)
	all.text("ver", t.Version)
	all.moment("iat", t.IssuedAt)
	all.moment("exp", t.ExpiresOn)
	return slog.GroupValue(all...)
}

// attrs are those that say something.
type attrs []slog.Attr

func (a *attrs) text(key, value string) {
	if value != "" {
		*a = append(*a, slog.String(key, value))
	}
}

func (a *attrs) moment(key string, value time.Time) {
	if !value.IsZero() {
		a.text(key, value.UTC().Format(time.RFC3339))
	}
}

// Milliseconds is a duration as lines have it: with two digits behind the point.
func Milliseconds(d time.Duration) float64 {
	return float64(d.Round(10*time.Microsecond)) / float64(time.Millisecond)
}
