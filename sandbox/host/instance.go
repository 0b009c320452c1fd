package host

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"apimrelay/internal/hostfile"
)

// instance is the host's inside, the ScriptHost: what host.json and the function.json files say,
// the handler and the timers. A change of those files replaces it by a new one.
type instance struct {
	h         *Host
	cfg       *hostConfig
	functions []*function
	faults    []fault
	fault     string // why nothing but the admin API is served; "" when all is well
	worker    *worker
	command   command
	lookup    func(string) (string, bool)

	stderrErrorsOnly bool
	contentLength    bool
	traced           bool // requests and answers are logged
	bodyLimit        int64
	appService       bool // behind App Service's front end, which says the scheme

	ctx     context.Context
	cancel  context.CancelFunc
	halted  context.Context // over once it stops: no new ticks, no retries; what runs may end
	halt    context.CancelFunc
	tasks   sync.WaitGroup // worker and timers
	running inFlight       // invocations
	limits  *limits
	started time.Time
}

// load reads the script root. It always returns an instance: faults are part of it.
func (h *Host) load() *instance {
	in := &instance{h: h, lookup: settingLookup(h.cfg.Environ), stderrErrorsOnly: true,
		started: h.clock.now()}
	in.ctx, in.cancel = context.WithCancel(h.ctx)
	in.halted, in.halt = context.WithCancel(h.halted)
	cfg, err := readHostJSON(h.cfg.Root, h.cfg.Environ)
	if err != nil {
		in.fault = err.Error()
		in.cfg = &hostConfig{root: &hostfile.Value{Kind: hostfile.Object}, routePrefix: "api",
			functionTimeout: 5 * time.Minute, maxConcurrent: -1,
			maxOutstanding: -1}
		in.limits = newLimits(in.cfg)
		h.log(Error, "Host.Startup", "A host error has occurred during startup operation.\n%s", err)
		return in
	}
	in.cfg = cfg
	rules := readLogRules(cfg.root)
	h.logRules.Store(&rules)
	in.limits = newLimits(cfg)
	in.stderrErrorsOnly = boolOf(cfg.description.Fold("useStdErrorStreamForErrorsOnly"), true)
	_, coreTools := in.lookup("FUNCTIONS_CORETOOLS_ENVIRONMENT")
	in.traced = coreTools
	in.contentLength = coreTools || h.cfg.Switches.ContentLength
	_, in.appService = in.lookup("WEBSITE_INSTANCE_ID")
	in.bodyLimit = 104857600
	if s, ok := in.lookup("FUNCTIONS_REQUEST_BODY_SIZE_LIMIT"); ok {
		if n := int64(intOf(hostfile.Text(s), 0)); n > 0 {
			in.bodyLimit = n
		}
	}
	if !cfg.custom || cfg.executable == "" {
		in.fault = "customHandler.description.defaultExecutablePath is missing or empty"
		h.log(Error, "Host.Startup",
			"A host error has occurred during startup operation.\nSystem.ComponentModel.DataAnnotations.ValidationException: WorkerDescription DefaultExecutablePath cannot be empty")
		return in
	}
	if runtime, _ := in.lookup("FUNCTIONS_WORKER_RUNTIME"); !strings.EqualFold(runtime, "custom") {
		h.log(Warning, "Host.Startup",
			"FUNCTIONS_WORKER_RUNTIME is '%s', not 'custom'; the customHandler section decides.",
			runtime)
	}
	in.functions, in.faults = readFunctions(h.cfg.Root, cfg, in.lookup)
	for _, f := range in.faults {
		if f.whole {
			in.fault = f.text
			if f.indexing {
				h.log(Error, "Function."+f.function,
					"Microsoft.Azure.WebJobs.Host: Error indexing method 'Functions.%s'. Microsoft.AspNetCore.Routing: %s. Microsoft.AspNetCore.Routing: %s",
					f.function, f.text, strings.TrimSuffix(f.text, " (Parameter 'routeTemplate')"))
			}
			h.log(Error, "Host.Startup",
				"A host error has occurred during startup operation '%s'.\nMicrosoft.AspNetCore.Routing.RouteCreationException: "+
					"An error occurred while creating the route with name '%s'.\n ---> System.ArgumentException: %s", newGUID(), f.function, f.text)
			continue
		}
		h.log(Error, "Host.Startup", "The '%s' function is in error: %s", f.function, f.text)
	}
	if in.fault == "" {
		in.announce()
	}
	return in
}

// announce logs what the host says of its functions and their routes (recording E-default-timeout).
func (in *instance) announce() {
	h := in.h
	h.log(Information, "Host.Startup", "%d functions loaded", len(in.functions))
	if len(in.functions) == 0 {
		h.log(Warning, "Host.Startup", "No job functions found.")
		return
	}
	found, routes := "", ""
	for _, f := range in.functions {
		found += "Host.Functions." + f.name + "\n"
		if f.http() {
			methods := "all"
			if f.methods != nil {
				methods = strings.Join(f.methodText, ",")
			}
			routes += "Mapped function route '" + in.cfg.routePrefix + "/" + f.routeText + "' [" +
				methods + "] to '" + f.name + "'\n"
		}
	}
	h.log(Information, "Host.Startup", "Found the following functions:\n%s", found)
	if routes != "" {
		h.log(Information, "Microsoft.Azure.WebJobs.Script.WebHost.WebScriptHostHttpRoutesManager",
			"Initializing function HTTP routes\n%s", routes)
	}
}

// run starts the handler and the timers; it returns at once.
func (in *instance) run() {
	// A host that fails because of a route has started the handler beside it, once (recording
	// E-fn-route-leading-slash).
	first := in.h.failures == 0 || in.fault == ""
	if in.cfg.custom && in.cfg.executable != "" && len(in.functions) > 0 && first {
		w, err := newWorker(in)
		if err != nil {
			in.fault = err.Error()
			in.h.log(Error, "Host.Startup", "%s", err)
			return
		}
		in.worker = w
		in.tasks.Go(func() { w.run(in.ctx) })
	}
	if in.fault != "" {
		in.tasks.Go(func() {
			if in.worker != nil {
				in.worker.await(in.ctx)
				in.h.clock.sleep(in.ctx, 100*time.Millisecond)
			}
			in.cancel()
		})
		return
	}
	for _, f := range in.functions {
		if f.schedule != nil && !f.disabled {
			in.tasks.Go(func() { in.listen(f) })
		}
	}
}

// stop ends timers and handler; running invocations get up to grace to end by themselves.
func (in *instance) stop(grace time.Duration) {
	in.halt()
	if grace > 0 {
		idle := in.running.idle()
		over, stop := in.h.clock.after(grace)
		select {
		case <-idle:
			time.Sleep(50 * time.Millisecond) // nothing hurries the host now
		case <-over:
			in.h.abandon()
		case <-in.h.hurried.Done():
			in.h.abandon()
		}
		stop()
	}
	in.cancel()
	in.tasks.Wait()
	if in.worker != nil {
		in.worker.set(workerStopped)
		in.worker.client.closeIdle()
		in.worker.proxy.closeIdle()
	}
}

// inFlight counts what runs. It is no sync.WaitGroup, since timers and redeliveries may begin while
// stop waits for the count to be zero.
type inFlight struct {
	mu      sync.Mutex
	n       int
	waiting []chan struct{}
}

func (f *inFlight) add() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.n++
}

func (f *inFlight) done() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.n--; f.n == 0 {
		for _, c := range f.waiting {
			close(c)
		}
		f.waiting = nil
	}
}

func (f *inFlight) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.n
}

// idle returns a channel that is closed once nothing runs.
func (f *inFlight) idle() <-chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	c := make(chan struct{})
	if f.n == 0 {
		close(c)
	} else {
		f.waiting = append(f.waiting, c)
	}
	return c
}

func (in *instance) find(name string) *function {
	for _, f := range in.functions {
		if strings.EqualFold(f.name, name) {
			return f
		}
	}
	return nil
}

// signature changes when host.json or a function.json changes, appears or goes; a new executable or
// any other file leaves it (recording E-file-change).
func signature(root string) string {
	var b strings.Builder
	note := func(path string) {
		if info, err := os.Stat(path); err == nil {
			b.WriteString(path + info.ModTime().String() + info.Mode().String() + " ")
		}
	}
	note(filepath.Join(root, "host.json"))
	entries, _ := os.ReadDir(root)
	for _, e := range entries {
		note(filepath.Join(root, e.Name(), "function.json"))
	}
	return b.String()
}
