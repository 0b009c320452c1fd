package doctor

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"sync"

	"apimrelay/handler/internal/cause"
	"apimrelay/handler/internal/token"
)

func checkClaims(_ context.Context, v *visit) []outcome {
	h := output[*held](v, "token")
	if !h.readable {
		return one(notRun("the token is opaque: not a signed JWT whose claims can be read"))
	}
	v.out = h
	return one(ok("%s", described(h.facts)))
}

// described is a token in a line: what may be shown of it.
func described(f token.Facts) string {
	parts := []string{"version " + orNone(f.Version), "iss " + orNone(f.Issuer), "aud " + orNone(strings.Join(f.Audience, " ")), roleText(f)}
	if f.Scope != "" {
		parts = append(parts, "scp "+f.Scope)
	}
	if !f.IssuedAt.IsZero() {
		parts = append(parts, "issued "+stamp(f.IssuedAt))
	}
	if !f.ExpiresOn.IsZero() {
		parts = append(parts, "ends "+stamp(f.ExpiresOn))
	}
	return strings.Join(parts, ", ")
}

func roleText(f token.Facts) string {
	if len(f.Roles) == 0 {
		return "no roles"
	}
	return "roles " + strings.Join(f.Roles, " ")
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05Z") }

func checkTenant(_ context.Context, v *visit) []outcome {
	return one(v.tenantOf(output[*held](v, "token-claims").facts))
}

func (v *visit) tenantOf(f token.Facts) outcome {
	switch {
	case v.f.TargetTenantID == "":
		return notRun("TargetTenantID is at fault: see the settings")
	case f.TenantID == "":
		return notRun("the token names no tenant")
	case !strings.EqualFold(f.TenantID, v.f.TargetTenantID):
		return find(cause.TokenTenant, "the token comes from tenant "+f.TenantID+", TargetTenantID is "+v.f.TargetTenantID, v.fill())
	}
	return ok("%s", f.TenantID)
}

func checkCaller(_ context.Context, v *visit) []outcome {
	f := output[*held](v, "token-claims").facts
	want := v.f.Identity.ClientID
	switch {
	case f.ClientID == "":
		return one(notRun("the token names no caller"))
	case want != "" && !strings.EqualFold(want, f.ClientID):
		return one(find(cause.TokenCaller, "the token was given to "+f.ClientID+", AppId is "+want, v.fill()))
	}
	saw := "client id " + f.ClientID
	if f.ObjectID != "" {
		saw += ", object id " + f.ObjectID
	}
	return one(ok("%s", saw))
}

var guid = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`(?i)[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}`) })

// graph is what tokens are for by mistake more often than anything else.
var graph = []string{"00000003-0000-0000-c000-000000000000", "https://graph.microsoft.com", "https://graph.microsoft.com/"}

func checkAudience(_ context.Context, v *visit) []outcome {
	return one(v.audienceOf(output[*held](v, "token-claims").facts))
}

// audienceOf compares as far as it can be known here: a token of version 2 carries the API's
// client id whatever was asked for, one of version 1 that or what was asked for
// (learn.microsoft.com "Access token claims reference", aud).
func (v *visit) audienceOf(f token.Facts) outcome {
	want := v.f.TargetApp
	got := strings.Join(f.Audience, " ")
	switch {
	case want == "":
		return notRun("TargetApp is at fault: see the settings")
	case got == "":
		return find(cause.TokenAudience, "the token has no audience", v.fill())
	case slices.Contains(f.Audience, want):
		return ok("%s", got)
	case slices.ContainsFunc(f.Audience, func(a string) bool { return slices.Contains(graph, a) }) && !slices.Contains(graph, want):
		return find(cause.TokenAudience, "the token is for Microsoft Graph ("+got+"), TargetApp is "+want, v.fill())
	case guid().MatchString(got) && guid().MatchString(want) && !strings.Contains(strings.ToLower(want), strings.ToLower(guid().FindString(got))) && strings.Count(want, "/") < 3:
		return find(cause.TokenAudience, "the token is for "+got+", TargetApp is "+want, v.fill())
	case guid().FindString(got) == got:
		return ok("%s, the API's client id", got)
	}
	return ok("%s, asked for as %s", got, want)
}

// skew is how far clocks may be apart; a policy usually allows 60 seconds.
const skew = time.Minute

func checkTime(_ context.Context, v *visit) []outcome {
	h := output[*held](v, "token")
	f := h.facts
	if f.ExpiresOn.IsZero() {
		f.ExpiresOn = h.ends
	}
	return one(v.timeOf(f, v.o.Now()))
}

func (v *visit) timeOf(f token.Facts, now time.Time) outcome {
	switch {
	case f.ExpiresOn.IsZero():
		return notRun("the token does not say when it ends")
	case !now.Before(f.ExpiresOn):
		return find(cause.TokenTime, fmt.Sprintf("the token ended %s ago, on %s", short(now.Sub(f.ExpiresOn)), stamp(f.ExpiresOn)), v.fill())
	case f.NotBefore.After(now.Add(time.Second)):
		return find(cause.TokenTime, fmt.Sprintf("the token begins in %s, on %s by our clock", short(f.NotBefore.Sub(now)), stamp(f.NotBefore)), v.fill())
	}
	saw := fmt.Sprintf("ends in %s, on %s", short(f.ExpiresOn.Sub(now)), stamp(f.ExpiresOn))
	if !f.IssuedAt.IsZero() {
		saw = fmt.Sprintf("issued %s ago, %s", short(now.Sub(f.IssuedAt)), saw)
	}
	return ok("%s", saw)
}

func short(d time.Duration) string {
	if d >= time.Hour {
		return strings.TrimSuffix(d.Round(time.Minute).String(), "0s")
	}
	return d.Round(time.Second).String()
}

func checkRole(_ context.Context, v *visit) []outcome {
	return one(v.roleOf(output[*held](v, "token-claims").facts))
}

func (v *visit) roleOf(f token.Facts) outcome {
	want := v.f.TargetRole
	fill := v.fill()
	if f.ObjectID != "" {
		fill["object"] = f.ObjectID
	}
	saw := roleText(f)
	if f.Scope != "" {
		saw += ", scp " + f.Scope
	}
	if !f.IssuedAt.IsZero() {
		saw += ", issued " + stamp(f.IssuedAt)
	}
	switch {
	case want == "" && v.o.Policies != nil:
		return notRun(saw + ": the policy judges them")
	case want == "":
		return notRun(saw + "; expectation unknown: set TargetRole, or give -policy FILE")
	case slices.Contains(f.Roles, want):
		return ok("%s", saw)
	}
	saw += "; wanted " + want
	return find(roleAnchor(f.Roles, f.Scope), saw, fill)
}

// roleAnchor tells the three ways apart in which a role can be absent.
func roleAnchor(have []string, scope string) cause.Code {
	switch {
	case len(have) > 0:
		return cause.RoleOther
	case scope != "":
		return cause.RoleUser
	}
	return cause.RoleMissing
}
