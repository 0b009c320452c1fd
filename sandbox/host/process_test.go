package host

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"apimrelay/internal/poll"
)

// hostVariable makes this binary `sandbox host` with the arguments that it holds, one a line.
const hostVariable = "HOST_TEST_HOST"

// runHost has the signals in its context too, as the program sandbox.
func runHost(args string) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	return Run(ctx, strings.Split(args, "\n"), os.Stdout, os.Stderr)
}

type hostProcess struct {
	cmd            *exec.Cmd
	stdout, stderr bytes.Buffer
}

func startHostProcess(l *stage) *hostProcess {
	exe, err := os.Executable()
	if err != nil {
		l.t.Fatal(err)
	}
	p := &hostProcess{cmd: exec.Command(exe)}
	p.cmd.Env = []string{hostVariable + "=" +
		strings.Join([]string{"-root", l.root, "-addr", "127.0.0.1:0", "-json", "-function-key",
			"f",
			"-master-key", "m"}, "\n"),
		scriptVariable + "=" + filepath.Join(l.dir, "script.json"), "PATH=" + os.Getenv("PATH"),
		"FUNCTIONS_WORKER_RUNTIME=custom"}
	p.cmd.Stdout, p.cmd.Stderr = &p.stdout, &p.stderr
	p.cmd.WaitDelay = time.Second // a handler that lives on holds nothing up
	if err := p.cmd.Start(); err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() { _ = p.cmd.Process.Kill() })
	return p
}

func (p *hostProcess) signal(t *testing.T, name string) {
	t.Helper()
	sig := map[string]syscall.Signal{"INT": syscall.SIGINT, "TERM": syscall.SIGTERM,
		"KILL": syscall.SIGKILL}[name]
	if err := p.cmd.Process.Signal(sig); err != nil {
		t.Fatal(err)
	}
}

func (p *hostProcess) wait(t *testing.T) int {
	t.Helper()
	code := make(chan int, 1)
	go func() {
		_ = p.cmd.Wait()
		code <- p.cmd.ProcessState.ExitCode()
	}()
	select {
	case c := <-code:
		return c
	case <-time.After(20 * time.Second):
		t.Fatal("the host process did not end")
		return 0
	}
}

func isAlive(pid int) bool {
	text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	return err == nil && !strings.Contains(string(text), ") Z ")
}

func killProcess(pid int) {
	if p, err := os.FindProcess(pid); err == nil {
		_ = p.Kill()
	}
}

// A kill of the real host hits the handler alone; nothing that it has started outlives the
// stand-in.
func TestWhatTheHandlerHasStartedEndsWithTheHost(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("the handler of this test is a shell script")
	}
	r := newRig(t,
		json.RawMessage(
			`{"version":"2.0","customHandler":{"description":{"defaultExecutablePath":"script"}}}`),
		json.RawMessage(helloFunction))
	script := filepath.Join(r.root, "script")
	if err := os.WriteFile(script, []byte(
		"#!/bin/sh\nsleep 300 &\necho $! > child.new && mv child.new child\nwait\n"),
		0o755); err != nil {
		t.Fatal(err)
	}
	r.start(r.config())
	pid := 0
	poll.Until(t, "the handler's child", func() bool {
		text, _ := os.ReadFile(filepath.Join(r.root, "child"))
		pid, _ = strconv.Atoi(strings.TrimSpace(string(text)))
		return pid > 0
	})
	r.host.Stop()
	poll.Until(t, "the end of the handler's child", func() bool { return !isAlive(pid) })
}
