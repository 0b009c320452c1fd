package token_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"apimrelay/handler/internal/token"
)

func TestState(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, f := open(t, failing(&token.Error{Kind: token.Refused, Err: errors.New("no")}))
		if st := s.State(); st.Usable || st.Failing || st.Requests != 0 ||
			st.Resource != resource || st.Age(time.Now()) != 0 {
			t.Fatalf("fresh: %+v", st)
		}
		mustFail(t, s, token.ErrRefused)
		st := s.State()
		if !st.Failing || !errors.Is(st.LastError, token.ErrRefused) ||
			st.LastErrorAt != time.Now() || st.Counts.Refused != 1 || st.ClosedUntil.IsZero() ||
			st.Usable {
			t.Fatalf("refused: %+v", st)
		}
		time.Sleep(time.Second)
		f.say(tokens(24*time.Hour, time.Second))
		s.Prefetch()
		if !s.State().Fetching {
			t.Fatal("a fetch is under way and State does not say so")
		}
		must(t, s)
		time.Sleep(time.Minute)
		st = s.State()
		if st.Failing || !st.Usable || st.Opaque || st.Facts.TenantID != tenant ||
			st.Counts.New != 1 || st.Requests != 2 || !st.ClosedUntil.IsZero() {
			t.Fatalf("good: %+v", st)
		}
		if st.Age(time.Now()) != time.Minute || st.RefreshAt.Sub(st.ReceivedAt) < 11*time.Hour ||
			time.Since(st.LastOKAt) != time.Minute {
			t.Fatalf("times: %+v", st)
		}
		time.Sleep(24 * time.Hour)
		if st := s.State(); st.Usable || st.ExpiresOn.IsZero() {
			t.Fatalf("expired: %+v", st)
		}
	})
}

func TestAnOpaqueTokenIsUsedUnchecked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := open(t, func(context.Context, int) (token.Token, error) {
			return token.Token{Value: "opaque+/=", ExpiresOn: time.Now().Add(time.Hour)}, nil
		})
		if v := must(t, s); v != "opaque+/=" {
			t.Fatalf("got %q", v)
		}
		if st := s.State(); !st.Opaque || st.Facts.Hash != token.Hash("opaque+/=") {
			t.Fatalf("%+v", st)
		}
	})
}

func TestTenantsCompareIgnoringCase(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := open(t, func(context.Context, int) (token.Token, error) {
			return token.Token{Value: jwt(map[string]any{"tid": strings.ToUpper(tenant)}),
				ExpiresOn: time.Now().Add(time.Hour)}, nil
		})
		must(t, s)
	})
}

func TestAnAbsurdEndIsNoTrouble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, f := open(t, func(context.Context, int) (token.Token, error) {
			return token.Token{Value: "opaque", ExpiresOn: time.Unix(1<<60, 0)}, nil
		})
		must(t, s)
		atOnce(t, s)
		f.wantAsked(1)
	})
}

func TestTheLogHasTheFactsAndNoToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		f := &fake{t: t, answer: failing(&token.Error{Err: errors.New("connection refused"),
			Hint: "start it"})}
		s := token.NewSource(token.Options{Fetch: f.fetch, TenantID: tenant, Resource: resource,
			Now: time.Now,
			Log: slog.New(slog.NewJSONHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug}))})
		mustFail(t, s, token.ErrUnavailable)
		f.say(tokens(24*time.Hour, 0))
		time.Sleep(time.Second)
		v := must(t, s)
		f.say(failing(errDown))
		time.Sleep(13 * time.Hour)
		atOnce(t, s)
		synctest.Wait()
		log := out.String()
		for _, want := range []string{`"level":"ERROR","msg":"token request failed"`,
			`"hint":"start it"`, `"msg":"token obtained"`, `"tid":"` + tenant,
			`"msg":"token endpoint recovered"`, `"level":"WARN","msg":"token request failed"`,
			`"retry_in_ms":`} {
			if !strings.Contains(log, want) {
				t.Errorf("the log lacks %s:\n%s", want, log)
			}
		}
		for _, part := range strings.Split(v, ".") {
			if strings.Contains(log, part) {
				t.Errorf("a part of the token is in the log:\n%s", log)
			}
		}
	})
}
