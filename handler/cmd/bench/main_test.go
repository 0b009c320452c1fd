//go:build linux

package main

import (
	"bytes"
	"strings"
	"testing"
)

func TestArguments(t *testing.T) {
	for _, tc := range []struct {
		name           string
		args           []string
		code           int
		stdout, stderr string
	}{
		{"none", nil, 2, "", "usage: bench"},
		{"help", []string{"help"}, 0, "usage: bench", ""},
		{"an unknown bench", []string{"x"}, 2, "", `unknown "x"`},
		{"an unknown flag", []string{"token", "-x"}, 2, "", "-x"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			if code := run(t.Context(), tc.args, &stdout, &stderr); code != tc.code || !strings.Contains(stdout.String(), tc.stdout) || !strings.Contains(stderr.String(), tc.stderr) {
				t.Fatalf("exit status %d\n%s%s", code, &stdout, &stderr)
			}
		})
	}
}
