package main

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"apimrelay/internal/poll"
	"apimrelay/sandbox/gateway"
	"apimrelay/sandbox/host"
)

func TestStopSaysWhyItWaits(t *testing.T) {
	_, flags := stage(t)
	o, err := parseFlags(flags, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	var stderr buffer
	b, err := start(o, environ(), &stderr)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.gateway.SetFault(gateway.Fault{Name: gateway.FaultHang}); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		b.fire(t.Context(), "relay", host.Firing{})
		close(done)
	}()
	for len(b.gateway.Faults()) > 0 && b.host.Running() == 0 {
		time.Sleep(2 * time.Millisecond)
	}
	began := time.Now()
	b.close()
	if took := time.Since(began); took > lastCalls+2*time.Second {
		t.Errorf("the end took %s", took)
	}
	if !strings.Contains(stderr.String(), " running: waiting up to 2s") {
		t.Errorf("it does not say why it waits: %s", stderr.String())
	}
	<-done
}

func TestStopLeavesNoHandlerBehind(t *testing.T) {
	root, flags := stage(t)
	console, _, stop := up(t, flags)
	send(t, "POST", console+"/functions/relay", "")
	if len(running(t, root)) == 0 {
		t.Fatal("no handler runs, so the test shows nothing")
	}
	if status := stop(); status != 0 {
		t.Errorf("exit status %d", status)
	}
	poll.Until(t, "the end of the handler", func() bool { return len(running(t, root)) == 0 })
}

// running lists processes whose command line or working directory is in root.
func running(t *testing.T, root string) []string {
	t.Helper()
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil || len(dirs) == 0 {
		t.Skip("no /proc")
	}
	var out []string
	for _, dir := range dirs {
		line, _ := os.ReadFile(filepath.Join(dir, "cmdline"))
		cwd, _ := os.Readlink(filepath.Join(dir, "cwd"))
		if strings.HasPrefix(string(line), root) || cwd == root {
			out = append(out, filepath.Base(dir))
		}
	}
	return out
}
