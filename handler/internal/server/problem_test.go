package server

import (
	"errors"
	"fmt"
	"net"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"apimrelay/handler/internal/app"
	"apimrelay/handler/internal/cause"
	"apimrelay/handler/internal/relay"
	"apimrelay/handler/internal/settings"
	"apimrelay/handler/internal/token"
)

// docs/calls.md has every code that a caller or a reader of the log can meet, with its status, and no other.
func TestTheDocumentListsEveryProblem(t *testing.T) {
	page, err := os.ReadFile("../../../docs/calls.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(page), "## Codes of our own failures\n")
	table, _, _ = strings.Cut(table, "\n#")
	want := map[string]string{answerCut: "none"}
	for _, p := range problems {
		want[p.code] = strconv.Itoa(p.status)
	}
	for _, c := range problemCodes {
		if problemFor(c.code).code != c.code {
			t.Errorf("%s is no problem", c.code)
		}
	}
	quoted := regexp.MustCompile("`([a-z-]+)`")
	got := map[string]string{}
	for line := range strings.Lines(table) {
		cells := strings.Split(line, "|")
		if len(cells) != 5 {
			continue
		}
		statuses := strings.Split(cells[2], ",")
		for i, code := range quoted.FindAllStringSubmatch(cells[1], -1) {
			if i < len(statuses) {
				got[code[1]] = strings.TrimSpace(statuses[i])
			}
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the table of codes (-program +docs/calls.md):\n%s", diff)
	}
}

// Codes and classes are coarse, and each leads to one entry of the table of causes.
func TestEachProblemAndRefusalHasACause(t *testing.T) {
	for _, p := range append([]problem{{code: answerCut}}, problems...) {
		if cause.OfProblem(p.code) == "" {
			t.Errorf("the problem %s has no cause", p.code)
		}
	}
	for _, class := range []relay.Refusal{relay.KeyMissing, relay.KeyInvalid, relay.TokenRefused, relay.Forbidden, relay.QuotaSpent, relay.Unclear, relay.NotGateways} {
		if cause.OfRefusal(string(class)) == "" {
			t.Errorf("the refusal %s has no cause", class)
		}
	}
}

func TestTheFinestCauseIsNamed(t *testing.T) {
	refused := &token.Error{Kind: token.Refused, Code: cause.IdentityNotAttached, Err: errors.New("x")}
	faulty := &settings.Function{Faults: []app.Fault{{Cause: cause.SettingsReference}}}
	for name, tc := range map[string]struct {
		err  error
		f    *settings.Function
		want cause.Code
	}{
		"whoever asked for the token": {fmt.Errorf("relaying: %w", refused), nil, cause.IdentityNotAttached},
		"a token for no known reason": {&token.Error{Err: errors.New("x")}, nil, cause.TokenUnavailable},
		"the network":                 {&relay.GatewayError{Err: &net.DNSError{}}, nil, cause.GatewayName},
		"the settings":                {errSettings, faulty, cause.SettingsReference},
		"our own answer":              {errNoRoute, nil, cause.NoRoute},
		"nothing":                     {nil, nil, ""},
	} {
		problem := ""
		if tc.err != nil {
			problem = problemOf(tc.err).code
		}
		if got := causeOf(tc.err, tc.f, problem, relay.NoRefusal); got != tc.want {
			t.Errorf("%s: want %q, got %q", name, tc.want, got)
		}
	}
	if got := causeOf(nil, nil, "", relay.KeyInvalid); got != cause.KeyInvalid {
		t.Errorf("a refusal: want key-invalid, got %q", got)
	}
}
