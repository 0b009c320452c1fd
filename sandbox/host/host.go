package host

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"apimrelay/sandbox/loopback"
)

// Host is a stand-in for the Functions host on one script root. Make it with New; all methods are
// safe for concurrent use.
type Host struct {
	cfg       Config
	clock     *clock
	durations Durations
	front     *front

	ctx     context.Context
	cancel  context.CancelFunc
	halted  context.Context // over once Stop has begun
	halt    context.CancelFunc
	hurried context.Context // over once nothing is waited for
	hurry   context.CancelFunc
	ended   chan struct{} // closed when the host ends by itself
	once    sync.Once
	endErr  error

	restarting sync.Mutex

	mu       sync.Mutex
	current  *instance
	closing  bool
	failures int // starts of the inside in a row that failed
	statuses map[string]timerStatus

	logMu    sync.Mutex
	muted    atomic.Bool
	logRules atomic.Pointer[logRules]
	faults   faultSwitch
	keys     keyRing
	history  history
	outMu    sync.Mutex
	out      []Message
	began    time.Time
}

// New reads nothing yet; it checks that the script root is there.
func New(cfg Config) (*Host, error) {
	info, err := os.Stat(cfg.Root)
	if err != nil {
		return nil, fmt.Errorf("opening the script root: %w", err)
	}
	if !info.IsDir() {
		return nil, fmt.Errorf("opening the script root: %s: want a folder", cfg.Root)
	}
	if cfg.Root, err = filepath.Abs(cfg.Root); err != nil {
		return nil, fmt.Errorf("opening the script root: %w", err)
	}
	if cfg.Addr == "" {
		cfg.Addr = "127.0.0.1:0"
	}
	if cfg.History <= 0 {
		cfg.History = 200
	}
	h := &Host{cfg: cfg, clock: newClock(cfg.Start, cfg.Speed),
		durations: cfg.Durations.withDefaults(), ended: make(chan struct{}),
		statuses: map[string]timerStatus{}, history: history{size: cfg.History},
		keys: keyRing{function: cfg.FunctionKey, host: cfg.HostKey, master: cfg.MasterKey}}
	h.ctx, h.cancel = context.WithCancel(context.Background())
	h.halted, h.halt = context.WithCancel(context.Background())
	h.hurried, h.hurry = context.WithCancel(context.Background())
	return h, nil
}

// Run serves until ctx ends or the host ends by itself (the third crash of the handler, a request
// that waited for it in vain, app_offline.htm), then shuts down. It returns nil in all of these
// cases, as the host's process exits with 0.
func (h *Host) Run(ctx context.Context) error {
	if err := h.Start(); err != nil {
		return err
	}
	select {
	case <-ctx.Done():
	case <-h.ended:
	}
	h.Stop()
	return h.endErr
}

// Start opens the listener and starts the handler; it does not wait for either to be ready:
// requests do.
func (h *Host) Start() error {
	ln, err := loopback.Listen(h.cfg.Addr)
	if err != nil {
		return err
	}
	h.began = h.clock.right()
	h.front = newFront(h, ln)
	h.restartInside(0)
	go h.front.serve()
	go h.watchFiles()
	return nil
}

// Addr is where callers are served, once Start has returned.
func (h *Host) Addr() string { return h.front.ln.Addr().String() }

// Done is closed when the host has ended by itself; Stop is still to be called.
func (h *Host) Done() <-chan struct{} { return h.ended }

// Stop is SIGTERM: no new requests, running invocations get up to 30 s, then the handler is killed
// without any signal before (recordings E-sigterm*). Pauses of a retry policy, messages that wait
// to be delivered again and calls that a fault holds are not waited for. It returns when all is
// over.
func (h *Host) Stop() {
	h.mu.Lock()
	if h.closing {
		h.mu.Unlock()
		return
	}
	h.closing = true
	h.mu.Unlock()
	h.halt()
	h.front.hush()
	h.restarting.Lock() // a restart that is under way ends first, so that no handler is left behind
	in := h.inside()
	h.restarting.Unlock()
	if in != nil {
		in.stop(h.durations.Shutdown)
	}
	// The answers of the last invocations are on their way; connections that still run something
	// are cut.
	h.front.settle()
	h.cancel()
	h.front.close()
	<-h.front.running.idle()
}

// Running is how many invocations run now: what Stop waits for.
func (h *Host) Running() int {
	in := h.inside()
	if in == nil {
		return 0
	}
	return in.running.count()
}

// Hurry has Stop wait for running invocations no longer: they are cut, as after 30 s.
func (h *Host) Hurry() { h.hurry() }

// abandon cuts the callers whose invocations have not ended in time; nothing more is logged
// (recording E-sigterm-in-flight-long).
func (h *Host) abandon() {
	h.muted.Store(true)
	h.front.close()
}

func (h *Host) stopping() bool {
	select {
	case <-h.ended:
		return true
	default:
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.closing
}

// end is the host's process ending by itself.
func (h *Host) end(err error) {
	h.once.Do(func() {
		h.endErr = err
		close(h.ended)
	})
}

func (h *Host) inside() *instance {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.current
}

// restartInside replaces the instance; the handler is killed and gets a new port.
func (h *Host) restartInside(grace time.Duration) {
	h.restarting.Lock()
	defer h.restarting.Unlock()
	h.mu.Lock()
	old, closing := h.current, h.closing
	h.mu.Unlock()
	if closing {
		return
	}
	if old != nil {
		old.stop(grace)
	}
	in := h.load()
	in.run()
	h.mu.Lock()
	h.current = in
	closing = h.closing
	if in.fault == "" {
		h.failures = 0
	} else {
		h.failures++
	}
	again := time.Second << max(0, min(h.failures-1, 7))
	h.mu.Unlock()
	switch {
	case closing:
		in.stop(0)
	case in.fault != "":
		// The host starts over, each time after twice the pause.
		go func() {
			if h.clock.sleep(h.halted, again) && h.inside() == in {
				h.restartInside(0)
			}
		}()
	}
}

// Restart replaces the inside at once, as a change of host.json does: the handler is killed,
// running calls fail, a new handler gets a new port.
func (h *Host) Restart() {
	h.log(Information, "Host.Startup", "Host configuration has changed. Signaling restart")
	h.restartInside(0)
}

// watchFiles restarts the inside when a file changed that counts, and once more and again while the
// files are at fault, as the host does.
func (h *Host) watchFiles() {
	last := signature(h.cfg.Root)
	offline := filepath.Join(h.cfg.Root, "app_offline.htm")
	for h.clock.sleep(h.ctx, h.durations.FilePoll) {
		if _, err := os.Stat(offline); err == nil {
			h.log(Information, "Host.Startup", "Host configuration has changed. Signaling restart")
			h.end(nil)
			return
		} else if !errors.Is(err, os.ErrNotExist) {
			continue
		}
		now := signature(h.cfg.Root)
		if now == last {
			continue
		}
		h.log(Information, "Host.Startup", "Host configuration has changed. Signaling restart")
		for {
			if !h.clock.sleep(h.ctx, h.durations.FileSettle) {
				return
			}
			again := signature(h.cfg.Root)
			if again == now {
				break
			}
			now = again
		}
		last = now
		h.restartInside(0)
	}
}
