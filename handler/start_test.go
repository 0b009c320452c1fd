package main

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestStart runs start.sh with pretended tools: it must name what is missing before Core Tools does, and hand over as it says.
func TestStart(t *testing.T) {
	script, err := filepath.Abs("start.sh")
	if err != nil {
		t.Fatal(err)
	}
	const settings = `{"IsEncrypted": false, "Values": {"AzureWebJobsStorage": "UseDevelopmentStorage=true", "FunctionIdentity": "RunAs=Developer;DeveloperTool=AzureCli"}}`
	storage, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer storage.Close()
	_, listening, _ := net.SplitHostPort(storage.Addr().String())
	for name, c := range map[string]struct {
		fn, az, settings, port string
		want                   string
		fails                  bool
	}{
		"no Core Tools":    {settings: settings, az: "exit 0", want: "func is not installed", fails: true},
		"no settings":      {fn: "exit 0", az: "exit 0", want: "local.settings.json is missing", fails: true},
		"no Azure CLI":     {fn: "exit 0", settings: settings, want: "az is not installed", fails: true},
		"not signed in":    {fn: "exit 0", az: "exit 1", settings: settings, want: "run az login", fails: true},
		"no storage":       {fn: `echo "started $1, poll disabled: $(grep -c AzureWebJobs.poll.Disabled=true /proc/$$/environ), nightly: $(grep -c AzureWebJobs.nightly.Disabled=true /proc/$$/environ), settings: $(ls local.settings.json)"`, az: "exit 0", settings: settings, port: "1", want: "started start, poll disabled: 1, nightly: 1, settings: local.settings.json"},
		"with storage":     {fn: `echo "started $1, poll disabled: $(grep -c AzureWebJobs.poll.Disabled=true /proc/$$/environ)"`, az: "exit 0", settings: settings, port: listening, want: "started start, poll disabled: 0"},
		"another identity": {fn: "echo started", settings: strings.Replace(settings, "AzureCli", "AzureDeveloperCli", 1), port: listening, want: "started"},
	} {
		t.Run(name, func(t *testing.T) {
			dir, bin := t.TempDir(), t.TempDir()
			for _, timer := range []string{"poll", "nightly"} {
				if err := os.MkdirAll(filepath.Join(dir, "app", timer), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(filepath.Join(dir, "app", timer, "function.json"), []byte(`{"bindings":[{"type":"timerTrigger"}]}`), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			for tool, body := range map[string]string{"func": c.fn, "az": c.az} {
				if body != "" {
					if err := os.WriteFile(filepath.Join(bin, tool), []byte("#!/bin/sh\n"+body+"\n"), 0o755); err != nil {
						t.Fatal(err)
					}
				}
			}
			for _, tool := range []string{"bash", "grep", "cp", "env", "ls", "sh"} {
				at, err := exec.LookPath(tool)
				if err != nil {
					t.Fatal(err)
				}
				if err := os.Symlink(at, filepath.Join(bin, tool)); err != nil {
					t.Fatal(err)
				}
			}
			if c.settings != "" {
				if err := os.WriteFile(filepath.Join(dir, "local.settings.json"), []byte(c.settings), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			cmd := exec.CommandContext(t.Context(), filepath.Join(bin, "bash"), script, "app")
			cmd.Dir, cmd.Env = dir, []string{"PATH=" + bin, "AZURITE_PORT=" + c.port}
			out, err := cmd.CombinedOutput()
			if (err != nil) != c.fails || !strings.Contains(string(out), c.want) {
				t.Errorf("%v: %s\nwant %q", err, out, c.want)
			}
		})
	}
}
