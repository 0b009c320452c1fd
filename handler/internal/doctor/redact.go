package doctor

import (
	"net/url"
	"regexp"
	"strings"
	"sync"
)

// redactor takes secrets out of texts: foreign ones stand in results (messages of the gateway, of
// the identity endpoint), and a hostile or careless service may repeat what it was sent.
type redactor struct {
	mu      sync.Mutex
	secrets []string
}

func newRedactor(o Options) *redactor {
	r := &redactor{}
	for _, f := range o.Settings.Functions {
		for _, k := range f.Keys {
			r.add(k.Reveal())
		}
		r.add(f.Identity.Secret.Reveal())
		for _, values := range f.Headers {
			for _, v := range values {
				if len(v) >= 8 { // a shorter one, such as a version, stands in many texts
					r.add(v)
				}
			}
		}
	}
	for _, name := range []string{"IDENTITY_HEADER", "MSI_SECRET"} {
		if v, ok := o.Lookup(name); ok {
			r.add(v)
		}
	}
	return r
}

// add takes a secret in. Short ones would damage ordinary words.
func (r *redactor) add(secret string) {
	if len(secret) < 4 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.secrets = append(r.secrets, secret, url.QueryEscape(secret), url.PathEscape(secret))
	if parts := strings.Split(secret, "."); len(parts) == 3 { // a token: its parts are as good as the whole
		for _, p := range parts[1:] {
			if len(p) >= 16 {
				r.secrets = append(r.secrets, p)
			}
		}
	}
}

// tokens are what looks like one: {" in base64, whoever it was given to.
var tokens = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`eyJ[A-Za-z0-9_-]{8,}(\.[A-Za-z0-9_-]*)*`) })

// text is s without secrets. It comes before every cut: half a secret would not be found any more.
func (r *redactor) text(s string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, secret := range r.secrets {
		s = strings.ReplaceAll(s, secret, "REDACTED")
	}
	return tokens().ReplaceAllString(s, "REDACTED")
}

func (r *redactor) result(one Result) Result {
	one.Title, one.Saw, one.Fix = r.text(one.Title), r.text(line(one.Saw)), r.text(line(one.Fix))
	return one
}

// line keeps a text on one line.
func line(s string) string {
	return strings.Join(strings.FieldsFunc(s, func(r rune) bool { return r == '\n' || r == '\r' || r == '\t' || r < ' ' || r == 0x7f }), " ")
}
