package secret_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"apimrelay/internal/secret"
)

func TestNoWayOfPrintingShowsTheText(t *testing.T) {
	const text = "canary-4711"
	s := secret.New(text)
	holder := struct {
		Key  secret.String
		Keys []secret.String
		Ptr  *secret.String
		own  secret.String
	}{s, []secret.String{s}, &s, s}

	var out bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d"} {
		fmt.Fprintf(&out, verb+"\n", s)
		fmt.Fprintf(&out, verb+"\n", holder)
		fmt.Fprintf(&out, verb+"\n", &holder)
	}
	if err := json.NewEncoder(&out).Encode(holder); err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.NewJSONHandler(&out, nil))
	log.Info("m", "key", s, "holder", holder)
	slog.New(slog.NewTextHandler(&out, nil)).Info("m", "key", s, "holder", holder)

	for _, form := range []string{text, fmt.Sprintf("%x", text), fmt.Sprintf("%X", text)} {
		if strings.Contains(out.String(), form) {
			t.Errorf("printed output holds the secret as %q:\n%s", form, out.String())
		}
	}
	if !strings.Contains(out.String(), "REDACTED") {
		t.Error("nothing was printed as REDACTED: the test looked at nothing")
	}
	if s.Reveal() != text || s.Empty() || !secret.New("").Empty() {
		t.Error("Reveal or Empty is wrong")
	}
}
