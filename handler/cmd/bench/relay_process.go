//go:build linux

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Cores: what is measured has one for itself, the load, the gateway and the identity endpoint share the other.
const (
	measuredCore = 0
	loadCore     = 1
)

// pinSelf keeps this process off the measured core.
func pinSelf() error {
	runtime.GOMAXPROCS(1)
	debug.SetGCPercent(800) // the load must not be what is measured
	if runtime.NumCPU() < 2 {
		return errors.New("want two cores at least, got one")
	}
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return err
	}
	for _, task := range tasks {
		id, _ := strconv.Atoi(task.Name())
		if err := unix.SchedSetaffinity(id, oneCore(loadCore)); err != nil && !errors.Is(err, unix.ESRCH) {
			return err
		}
	}
	return nil
}

func oneCore(n int) *unix.CPUSet {
	var set unix.CPUSet
	set.Set(n)
	return &set
}

// build builds a package of the module in a folder as it is deployed, at out. What the linker writes, page by page in any order, lies in the kernel's memory in small pieces, and starts up to
// a millisecond later than the same bytes unpacked from a package. So it is copied.
func build(ctx context.Context, out, module, pkg string) (string, error) {
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags=-s -w", "-o", out+".linked", pkg)
	cmd.Dir = module
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if text, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building %s: %w\n%s", pkg, err, text)
	}
	program, err := os.ReadFile(out + ".linked")
	if err != nil {
		return "", fmt.Errorf("building %s: %w", pkg, err)
	}
	return out, os.WriteFile(out, program, 0o755)
}

// process is a running handler or reference.
type process struct {
	cmd    *exec.Cmd
	addr   string
	stderr *os.File
	began  time.Time
}

// start starts a program on the measured core. It returns before the program listens.
func start(program string, env []string) (*process, error) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	addr := l.Addr().String()
	_ = l.Close()
	p := &process{cmd: exec.Command(program), addr: addr}
	if p.stderr, err = os.CreateTemp("", "bench-stderr"); err != nil {
		return nil, err
	}
	_, port, _ := net.SplitHostPort(addr)
	p.cmd.Env = append(append(os.Environ(), env...), "FUNCTIONS_CUSTOMHANDLER_PORT="+port, "GOMAXPROCS=1")
	p.cmd.Stderr = p.stderr
	done := make(chan error)
	go func() {
		// A child inherits the core of the thread that makes it; the thread ends with this goroutine.
		runtime.LockOSThread()
		err := unix.SchedSetaffinity(0, oneCore(measuredCore))
		if err == nil {
			p.began = time.Now()
			err = p.cmd.Start()
		}
		done <- err
	}()
	return p, <-done
}

// connect dials the program until it listens, with a pause after each time that it does not.
func (p *process) connect(pause time.Duration) (*wire, error) {
	for deadline := time.Now().Add(10 * time.Second); ; {
		c, err := net.Dial("tcp4", p.addr)
		if err == nil {
			return newWire(c), nil
		}
		if time.Now().After(deadline) {
			return nil, err
		}
		// time.Sleep would wait for whole milliseconds while nothing else is to do: epoll counts in these.
		wait := unix.NsecToTimespec(int64(pause))
		_ = unix.Nanosleep(&wait, nil)
	}
}

// stop ends the program and returns what it had to say on stderr.
func (p *process) stop() string {
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait()
	text, _ := os.ReadFile(p.stderr.Name())
	_ = p.stderr.Close()
	_ = os.Remove(p.stderr.Name())
	return string(text[:min(len(text), 2<<10)])
}

// cpu is the processor time that the program has used.
func (p *process) cpu() time.Duration {
	var t unix.Timespec
	// The clock of another process: CPUCLOCK_SCHED with its complemented pid (clock_getcpuclockid(3)).
	if unix.ClockGettime(int32(^p.cmd.Process.Pid<<3|2), &t) != nil {
		return 0
	}
	return time.Duration(t.Nano())
}

func ownCPU() time.Duration {
	var t unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_PROCESS_CPUTIME_ID, &t)
	return time.Duration(t.Nano())
}

// memory reads VmRSS or VmHWM, in bytes.
func (p *process) memory(field string) int64 {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		return 0
	}
	for line := range bytes.Lines(status) {
		if value, ok := bytes.CutPrefix(line, []byte(field+":")); ok {
			kib, _ := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(string(value)), " kB"), 10, 64)
			return kib << 10
		}
	}
	return 0
}

// resetPeak makes the present resident size the peak (proc(5), clear_refs).
func (p *process) resetPeak() error {
	return os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", p.cmd.Process.Pid), []byte("5"), 0)
}

// busy is the time that all cores worked, by /proc/stat, in steps of 10 ms.
func busy() time.Duration {
	stat, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0
	}
	line, _, _ := bytes.Cut(stat, []byte("\n"))
	var ticks int64
	for i, text := range strings.Fields(string(line)) {
		if i == 0 || i == 4 || i == 5 || i > 8 { // name, idle, iowait, guests
			continue
		}
		n, _ := strconv.ParseInt(text, 10, 64)
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}
