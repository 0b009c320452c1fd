package identity_test

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"apimrelay/handler/internal/identity"
)

// quoted renders a value so that any text survives.
func quoted(v string) string { return `"` + strings.ReplaceAll(v, `"`, `""`) + `"` }

// FuzzParse: whatever is in the setting, Parse returns, and never both a connection and an error;
// its texts are one line.
func FuzzParse(f *testing.F) {
	for _, s := range []string{"RunAs=App", "RunAs=App;AppId=" + guidA + ";TenantId=t;AppKey='a;b'",
		"RunAs=Developer; DeveloperTool=AzureCli", "a==b=c;;\"", "RunAs=App;Foo;AppId=x",
		"RunAs=App;AppId=" + guidA + ";TenantId=t;CertificateThumbprint=1;CertificateStoreLocation=CurrentUser", "RunAs=Workload", "RunAs=\x00", "=;=", "'=\"", "RunAs = App\n"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		c, warnings, err := identity.Parse(s)
		if (err == nil) != (c.Kind != identity.None) {
			t.Fatalf("%q: %v with error %v", s, c, err)
		}
		texts := warnings
		if err != nil {
			texts = append(texts, err.Error())
		}
		for _, text := range texts {
			if !utf8.ValidString(text) || strings.ContainsFunc(text, unicode.IsControl) {
				t.Fatalf("%q: text %q is not one printable line", s, text)
			}
		}
		// What is accepted is accepted again as it is in another case and with more semicolons, and
		// means the same.
		if err == nil {
			for _, again := range []string{";" + s + ";", " ;; " + s + " ; ; "} {
				if d, _, err := identity.Parse(again); err != nil || d.Key() != c.Key() {
					t.Fatalf("%q: %v, but %q: %v, %v", s, c, again, d, err)
				}
			}
		}
	})
}

// FuzzRoundTrip: any secret survives being rendered in quotes, in any order of keys, with blanks
// wherever they are allowed.
func FuzzRoundTrip(f *testing.F) {
	f.Add("abc=def==", " ", uint8(0))
	f.Add(`a"b'c;d`, "\t\n", uint8(1))
	f.Add("=", "", uint8(2))
	f.Fuzz(func(t *testing.T, key, gap string, turn uint8) {
		if strings.TrimSpace(key) == "" || strings.ContainsRune(key, 0) ||
			strings.TrimFunc(gap, unicode.IsSpace) != "" {
			t.Skip()
		}
		pairs := []string{"RunAs" + gap + "=" + gap + "App", "AppId=" + gap + guidA + gap, gap +
			"TenantId=contoso.com", "AppKey" + gap + "=" + gap + quoted(key) + gap}
		n := int(turn) % len(pairs)
		in := strings.Join(append(pairs[n:len(pairs):len(pairs)], pairs[:n]...), ";"+gap)
		c, _, err := identity.Parse(in)
		if err != nil {
			t.Fatalf("%q: %v", in, err)
		}
		if c.Kind != identity.ClientSecret || c.Secret.Reveal() != key || c.ClientID != guidA ||
			c.TenantID != "contoso.com" {
			t.Fatalf("%q: got %v with another secret", in, c)
		}
	})
}

// FuzzNoSecretInTexts: wherever in a string a secret strays, no text holds it.
func FuzzNoSecretInTexts(f *testing.F) {
	f.Add("RunAs=App;AppKey=", ";TenantId=")
	f.Add("RunAs=App,AppKey=", "")
	f.Add("RunAs=App;AppId=", ";x")
	f.Add("RunAs=Developer;DeveloperTool=", "")
	f.Add("RunAs=App;AppKey=a;", "=b")
	f.Add("RunAs=App;AppId="+guidA+";TenantId=t;CertificateStoreLocation=",
		";CertificateThumbprint=1")
	f.Fuzz(func(t *testing.T, before, after string) {
		const canary = "zq7-Canary~4711"
		if strings.Contains(before+after, canary) {
			t.Skip()
		}
		c, warnings, err := identity.Parse(before + canary + after)
		text := strings.Join(warnings, " ")
		if err != nil {
			text += err.Error()
		} else if c.Secret.Reveal() != "" {
			text += c.String()
		}
		if strings.Contains(text, canary) {
			t.Fatalf("%q %q: %s", before, after, text)
		}
	})
}
