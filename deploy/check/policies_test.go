// Package check looks at the policy files as any XML parser sees them; internal/policy knows what they mean.
package check

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// examine gives what is wrong with a policy file: XML that is not well-formed, C# expressions (which no tool here could check), sections
// that are missing or leave out <base />, a token that is removed before it was looked at.
func examine(text string, mock bool) []string {
	var faults, path, sections []string
	base, steps := map[string]bool{}, []string{}
	decoder := xml.NewDecoder(strings.NewReader(text))
	for {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return []string{err.Error()}
		}
		switch element := token.(type) {
		case xml.StartElement:
			name := element.Name.Local
			path = append(path, name)
			switch {
			case len(path) == 1 && name != "policies":
				faults = append(faults, "root: want policies, got "+name)
			case len(path) == 2:
				sections = append(sections, name)
			case len(path) == 3:
				base[path[1]] = base[path[1]] || name == "base"
				for _, attribute := range element.Attr {
					if name == "set-header" && attribute.Value == "Authorization" {
						name = "remove token"
					}
				}
				steps = append(steps, name)
			}
			for _, attribute := range element.Attr {
				if strings.Contains(attribute.Value, "@(") || strings.Contains(attribute.Value, "@{") {
					faults = append(faults, fmt.Sprintf("%s: an expression: %s", name, attribute.Value))
				}
			}
		case xml.EndElement:
			path = path[:len(path)-1]
		case xml.CharData:
			if text := strings.TrimSpace(string(element)); strings.HasPrefix(text, "@") {
				faults = append(faults, "an expression: "+text)
			}
		}
	}
	if want := []string{"inbound", "backend", "outbound", "on-error"}; !slices.Equal(sections, want) {
		faults = append(faults, fmt.Sprintf("sections: want %v, got %v", want, sections))
	}
	for _, section := range sections {
		if !base[section] && !(mock && section == "backend") {
			faults = append(faults, section+": want <base />: without it the policies of the other scopes are left out")
		}
	}
	removed, checked := slices.Index(steps, "remove token"), slices.Index(steps, "validate-jwt")
	if removed >= 0 && removed < checked {
		faults = append(faults, "the token is removed before it is checked")
	}
	if mock && !slices.Contains(steps, "return-response") {
		faults = append(faults, "the mock answers nothing")
	}
	return faults
}

func TestPolicies(t *testing.T) {
	files, err := filepath.Glob("../policies/*.xml")
	if err != nil || len(files) < 4 {
		t.Fatalf("got %d files, %v, want 4 or more", len(files), err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, fault := range examine(string(text), strings.HasSuffix(file, "-mock.xml")) {
			t.Errorf("%s: %s", file, fault)
		}
	}
}

func TestPoliciesFindSeededFaults(t *testing.T) {
	tests := []struct{ name, file, from, to, want string }{
		{"an element that is not closed", "api.xml", "</validate-jwt>", "", "syntax error"},
		{"raw quotes in an attribute", "api.xml", `clock-skew="60"`, `clock-skew="@(context["x"])"`, "syntax error"},
		{"an expression", "api.xml", `clock-skew="60"`, `clock-skew="@(60)"`, "an expression"},
		{"a section left out", "api.xml", "<outbound>\n    <base />\n  </outbound>", "", "sections: want"},
		{"the other scopes left out", "operation-write.xml", "    <base />\n  </inbound>", "  </inbound>", "inbound: want <base />"},
		{"a token removed too early", "api.xml", "<base />", `<base /><set-header name="Authorization" exists-action="delete" />`, "removed before it is checked"},
		{"a mock that answers nothing", "product-mock.xml", "return-response", "forward-request", "syntax error"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			data, err := os.ReadFile(filepath.Join("../policies", tt.file))
			if err != nil {
				t.Fatal(err)
			}
			text := string(data)
			if !strings.Contains(text, tt.from) {
				t.Fatalf("%s does not hold %q", tt.file, tt.from)
			}
			// The comment above the policies may speak of elements: only the elements themselves are changed.
			start := strings.Index(text, "<policies>")
			text = text[:start] + strings.Replace(text[start:], tt.from, tt.to, 1)
			faults := strings.Join(examine(text, strings.Contains(tt.file, "-mock")), "\n")
			if !strings.Contains(faults, tt.want) {
				t.Errorf("got %q, want %q in it", faults, tt.want)
			}
		})
	}
}
