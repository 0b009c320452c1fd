package host

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"apimrelay/internal/hostfile"
)

// worker is the handler's process, or rather one after another on the same port. Sources:
// Azure/azure-functions-host
// src/WebJobs.Script/Workers/Http/{HttpWorkerProcess,HttpFunctionInvocationDispatcher,HttpWorkerChannel}.cs,
// Workers/ProcessManagement/WorkerProcess.cs; recordings E-exit*, E-crash-*, E-probe-*,
// E-never-listens.
type worker struct {
	in     *instance
	port   int
	client *client // wrapped, forwarded, probes
	proxy  *client

	mu        sync.Mutex
	state     workerState
	changed   chan struct{} // closed at each change of state
	proc      *process
	errors    int
	lastError time.Time
}

type workerState int

const (
	workerStarting workerState = iota
	workerReady
	workerStopped
)

// process is one life of the handler.
type process struct {
	cmd    *exec.Cmd
	group  *processGroup
	id     string
	done   chan struct{} // closed when it has ended and its output is read
	killed bool
	code   int
	stderr []string // the last three lines
	pipes  [2]*os.File
	busy   atomic.Int32 // readers that have taken a line and not yet logged it
}

// maxErrors is the count at which the host gives up, within a window of errorWindow between one and
// the next.
const (
	maxErrors   = 3
	errorWindow = 30 * time.Minute
)

func newWorker(in *instance) (*worker, error) {
	port := in.cfg.port
	if port == 0 {
		ln, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			return nil, fmt.Errorf("finding a free port for the handler: %w", err)
		}
		port = ln.Addr().(*net.TCPAddr).Port
		_ = ln.Close()
	}
	addr := fmt.Sprintf("127.0.0.1:%d", port)
	d := in.h.durations
	return &worker{in: in, port: port, changed: make(chan struct{}),
		client: newClient(addr, in.h.clock, d.IdleConn), proxy: newClient(addr, in.h.clock,
			d.IdleConn)}, nil
}

func (w *worker) addr() string { return w.client.addr }

func (w *worker) set(s workerState) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.state = s
	close(w.changed)
	w.changed = make(chan struct{})
}

// await waits until the handler is ready; after ReadyWait the request goes on all the same, runs
// into a refused connection, and the host ends.
func (w *worker) await(ctx context.Context) (ready bool) {
	expired, stop := w.in.h.clock.after(w.in.h.durations.ReadyWait)
	defer stop()
	for {
		w.mu.Lock()
		state, changed := w.state, w.changed
		w.mu.Unlock()
		if state == workerReady {
			return true
		}
		if state == workerStopped {
			return false
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return false
		case <-expired:
			w.in.h.log(Error, dispatcherCategory,
				"Final functionDispatcher state: Initializing. Initialization timed out and host is shutting down")
			w.in.h.end(nil)
			return false
		}
	}
}

const dispatcherCategory = "Microsoft.Azure.WebJobs.Script.Workers.HttpFunctionInvocationDispatcher"

// run keeps the handler alive until ctx ends.
func (w *worker) run(ctx context.Context) {
	// A kill hits the handler alone, as the real host's; what it has left behind goes with the
	// inside.
	defer func() {
		if w.proc != nil {
			w.proc.group.end()
		}
	}()
	for ctx.Err() == nil {
		p, err := w.spawn()
		if err != nil {
			c := w.in.command
			w.in.h.log(Error, "Worker.HttpWorkerProcess",
				"Failed to start Worker Channel. Process fileName: %s\n%s", c.path, err)
			<-ctx.Done()
			return
		}
		counted := w.watch(ctx, p)
		if ctx.Err() != nil {
			w.stop(p)
			return
		}
		w.set(workerStarting)
		w.proxy.closeIdle()
		w.client.closeIdle()
		if counted && w.strike() {
			return
		}
		w.in.h.log(Debug, dispatcherCategory, "Restarting http invoker channel")
	}
}

// strike counts an error; at the third the host process ends, with exit code 0.
func (w *worker) strike() bool {
	now := w.in.h.clock.right()
	if !w.lastError.IsZero() && now.Sub(w.lastError) > errorWindow {
		w.errors = 0
	}
	w.errors++
	w.lastError = now
	if w.errors < maxErrors {
		return false
	}
	w.in.h.log(Error, dispatcherCategory,
		"Exceeded http worker restart retry count. Shutting down Functions Host")
	// No new caller comes in. The calls that the crash has failed are answered before the host
	// begins to stop.
	w.in.h.front.hush()
	time.AfterFunc(30*time.Millisecond, func() { w.in.h.end(nil) })
	return true
}

// watch sees p through its life and reports whether its end counts as an error.
func (w *worker) watch(ctx context.Context, p *process) (counted bool) {
	probed := make(chan error, 1)
	probeCtx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() { probed <- w.probe(probeCtx, p) }()
	for {
		select {
		case <-ctx.Done():
			return false
		case err := <-probed:
			if err != nil {
				if ctx.Err() != nil {
					return false
				}
				w.in.h.log(Error, "Worker.HttpWorkerChannel."+p.id,
					"Failed to start http worker process. workerId:%s\nSystem.TimeoutException: Initializing HttpWorker timed out.", p.id)
				w.stop(p)
				return true
			}
			w.set(workerReady)
			w.in.h.log(Information, dispatcherCategory, "Worker process started and initialized.")
			probed = nil
		case <-p.done:
			restart, counts := w.judge(p)
			if restart {
				return counts
			}
			// Exit code 0: nobody notices. While it was starting, the probes go on until their time
			// is over, and that counts.
			if probed == nil {
				<-ctx.Done()
				return false
			}
			select {
			case <-ctx.Done():
				return false
			case err := <-probed:
				if err != nil && ctx.Err() == nil {
					w.in.h.log(Error, "Worker.HttpWorkerChannel."+p.id,
						"Failed to start http worker process. workerId:%s\nSystem.TimeoutException: Initializing HttpWorker timed out.", p.id)
					return true
				}
				w.set(workerReady) // somebody else answers on the port
				<-ctx.Done()
				return false
			}
		}
	}
}

// judge reads an exit: restart at all, and does it count.
func (w *worker) judge(p *process) (restart, counted bool) {
	w.mu.Lock()
	killed := p.killed
	w.mu.Unlock()
	category := "Worker.HttpWorkerProcess." + p.id
	switch {
	case killed:
		return true, false
	case p.code == 0:
		w.in.h.log(Debug, category, "Language Worker Process exited. Pid=%d. %s exited with code 0",
			p.cmd.Process.Pid, filepath.Base(p.cmd.Path))
		return w.in.h.cfg.Switches.RestartOnExitZero, false
	case p.code == 200: // WorkerConstants.IntentionalRestartExitCode
		w.in.h.log(Information, category,
			"Language Worker Process exited and needs to be restarted.")
		return true, false
	}
	w.in.h.log(Error, category,
		"Language Worker Process exited. Pid=%d.\nMicrosoft.Azure.WebJobs.Script.Workers.WorkerProcessExitException: %s exited with code %d (0x%X)\n ---> System.Exception: %s",
		p.cmd.Process.Pid, p.cmd.Path, p.code, p.code, strings.Join(p.stderr, ","))
	return true, true
}

// spawn starts the handler: no shell, stdin empty, its own process group, so that a Ctrl-C meant
// for the host does not reach it.
func (w *worker) spawn() (*process, error) {
	id := newGUID()
	port := fmt.Sprint(w.port)
	env := slices.Clone(w.in.h.cfg.Environ)
	env = append(env, "FUNCTIONS_HTTPWORKER_PORT="+port, "FUNCTIONS_HTTPWORKER_ID="+id,
		"FUNCTIONS_CUSTOMHANDLER_PORT="+port,
		"FUNCTIONS_CUSTOMHANDLER_WORKER_ID="+id, "FUNCTIONS_APP_ROOT_PATH="+w.in.h.cfg.Root)
	c := resolveCommand(w.in.h.cfg.Root, w.in.cfg.description, env)
	w.in.command = c
	for _, name := range c.lost {
		w.in.h.log(Warning, "Worker.HttpWorkerProcess", "Environment variable:%s is not set", name)
	}
	path := c.path
	if filepath.Base(path) == path {
		// Looked up on the host's own PATH, not on this process's.
		if dirs, ok := exactLookup(env)("PATH"); ok {
			for dir := range slices.Values(filepath.SplitList(dirs)) {
				if full, err := exec.LookPath(filepath.Join(dir, path)); err == nil {
					path = full
					break
				}
			}
		}
		if filepath.Base(path) == path {
			return nil,
				fmt.Errorf("starting the handler: %s: no such file in the script root or on PATH",
					c.path)
		}
	}
	cmd := exec.Command(executable(path), c.args...)
	cmd.Args[0] = c.path
	cmd.Dir, cmd.Env = c.dir, env
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	stderr, err := cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	w.in.h.log(Debug, "Worker.HttpWorkerProcess."+id,
		"Starting worker process with FileName:%s WorkingDirectory:%s Arguments:%s", c.path,
		c.dir, c.line)
	group, err := startGroup(cmd)
	if err != nil {
		return nil, fmt.Errorf("starting the handler: %w", err)
	}
	p := &process{cmd: cmd, group: group, id: id, done: make(chan struct{})}
	p.pipes[0], _ = stdout.(*os.File)
	p.pipes[1], _ = stderr.(*os.File)
	w.mu.Lock()
	w.proc = p
	w.mu.Unlock()
	var read sync.WaitGroup
	read.Go(func() { w.in.h.console(stdout, false, w.in.stderrErrorsOnly, p) })
	read.Go(func() { w.in.h.console(stderr, true, w.in.stderrErrorsOnly, p) })
	go func() {
		ended := make(chan struct{})
		go func() { read.Wait(); close(ended) }()
		// The process may leave a child behind that holds its pipes open; the exit counts, not the
		// pipes.
		state, err := cmd.Process.Wait()
		select {
		case <-ended:
		case <-time.After(200 * time.Millisecond):
			_ = stdout.Close()
			_ = stderr.Close()
		}
		if err == nil {
			p.code = exitCode(state)
		}
		close(p.done)
	}()
	return p, nil
}

// stop kills p, the direct child only, and waits for it.
func (w *worker) stop(p *process) {
	w.mu.Lock()
	p.killed = true
	w.mu.Unlock()
	_ = p.cmd.Process.Kill()
	<-p.done
}

// restart kills the handler because of a function's time-out; run starts the next one, uncounted.
func (w *worker) restart() {
	w.mu.Lock()
	p := w.proc
	w.mu.Unlock()
	if p == nil {
		return
	}
	w.set(workerStarting)
	w.stop(p)
}

// probe asks GET / until the port accepts. Any answer is ready, and so is a connection that ends
// without one.
func (w *worker) probe(ctx context.Context, p *process) error {
	pause := w.in.h.durations.ProbePause
	tries := int(w.in.cfg.initTimeout/(pause*25/28)) + 1
	o := &outgoing{method: http.MethodGet, target: "/", hdr: http.Header{}}
	w.in.trace(o.hdr, nil, traceProbe)
	// So many tries last 34 s of the 30 (recording E-never-listens), longer where a try takes its
	// time.
	most := w.in.h.clock.right().Add(w.in.cfg.initTimeout * 3 / 2)
	for range tries {
		if w.in.h.clock.right().After(most) {
			break
		}
		answer, err := w.client.send(ctx, o)
		if err == nil {
			_, err = readAll(answer)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err == nil || !refused(err) {
			return nil
		}
		if !w.in.h.clock.sleep(ctx, pause) {
			return ctx.Err()
		}
	}
	return errors.New("the handler does not listen")
}

// console turns the handler's output into log lines (recordings E-console,
// E-console-stderr-errors-only-false).
func (h *Host) console(r io.Reader, stderr, errorsOnly bool, p *process) {
	br := bufio.NewReaderSize(r, 64<<10)
	afterCR := false
	p.busy.Add(1)
	defer p.busy.Add(-1)
	for {
		p.busy.Add(-1)
		_, _ = br.Peek(1)
		p.busy.Add(1)
		line, ended, err := readConsoleLine(br, &afterCR)
		if line != "" || ended {
			if rest, ok := strings.CutPrefix(line, "LanguageWorkerConsoleLog"); ok {
				level := Information
				if stderr {
					level = Error
				}
				h.log(level, "Worker.HttpWorkerProcess."+p.id, "%s", rest)
			} else {
				if stderr {
					p.stderr = append(p.stderr, line)
					p.stderr = p.stderr[max(0, len(p.stderr)-3):]
				}
				h.log(consoleLevel(line, stderr, errorsOnly), consoleCategory, "%s",
					hostfile.DecodeUTF8([]byte(line)))
			}
		}
		if err != nil {
			return
		}
	}
}

// readConsoleLine reads up to a line feed, a carriage return or both; ended reports whether one of
// them came. A line is there as soon as its carriage return is, so afterCR remembers that a line
// feed may follow (dotnet/runtime
// src/libraries/System.Diagnostics.Process/src/System/Diagnostics/AsyncStreamReader.cs, which reads
// the output of a process).
func readConsoleLine(r *bufio.Reader, afterCR *bool) (line string, ended bool, err error) {
	var text []byte
	for {
		c, err := r.ReadByte()
		if err != nil {
			return string(text), false, err
		}
		if c == '\n' && *afterCR {
			*afterCR = false
			continue
		}
		*afterCR = c == '\r'
		if c == '\n' || c == '\r' {
			return string(text), true, nil
		}
		text = append(text, c)
	}
}

// caughtUp waits, a moment at most, until what the handler has written to its console is in the
// log: lines that it wrote before its answer come before the lines of the invocation's end
// (recording E-console-during-request).
func (p *process) caughtUp() {
	for range 40 {
		if p.busy.Load() <= 0 && !pending(p.pipes[0]) && !pending(p.pipes[1]) {
			return
		}
		time.Sleep(500 * time.Microsecond)
	}
}

// caughtUp is process.caughtUp of the life that runs.
func (w *worker) caughtUp() {
	w.mu.Lock()
	p := w.proc
	w.mu.Unlock()
	if p != nil {
		p.caughtUp()
	}
}

func consoleLevel(line string, stderr, errorsOnly bool) Level {
	if !stderr {
		return Information
	}
	lower := strings.ToLower(line)
	if errorsOnly {
		if strings.Contains(lower, "warn") {
			return Warning
		}
		return Error
	}
	for _, word := range []string{"error", "fail", "severe", "unhandled exception"} {
		if strings.Contains(lower, word) {
			return Error
		}
	}
	if strings.Contains(lower, "warn") {
		return Warning
	}
	return Information
}
