package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"time"

	"apimrelay/sandbox/host"
	"apimrelay/sandbox/identity"

	"apimrelay/sandbox/console"
)

// So long a first call may take: the handler's start is in it.
const patience = 30 * time.Second

// run shows the first calls and, unless once is set, stays up until ctx ends. It returns the exit status.
func (s *sandbox) run(ctx context.Context, stdout, stderr io.Writer) int {
	status := 0
	if !s.quiet {
		fmt.Fprintf(stdout, "%s\n", s.title())
		err := s.demonstrate(ctx, stdout)
		switch {
		case ctx.Err() != nil && !s.once:
			return 0
		case err != nil:
			for line := range strings.SplitSeq(err.Error(), "\n") {
				fmt.Fprintf(stderr, "sandbox: %s\n", line)
			}
			status = 1
		}
	}
	if s.once {
		return status
	}
	// Before anybody is told where to call: nothing that comes then is missed.
	invocations, stop := s.board.Listen()
	defer stop()
	go s.follow(ctx, stdout, invocations, s.board.All())
	s.printing.Lock()
	s.invite(stdout)
	s.printing.Unlock()
	select {
	case <-ctx.Done():
		return 0
	case <-s.host.Done():
		fmt.Fprintln(stderr, "sandbox: the host has ended by itself: its last lines above say why")
		return 1
	}
}

func (s *sandbox) title() string {
	parts := []string{"the Functions host on " + s.root}
	if s.identity != nil {
		parts = append(parts, "the identity endpoint with its issuer")
	} else {
		parts = append(parts, "the real Azure CLI")
	}
	if s.gateway != nil {
		parts = append(parts, "API Management with "+s.policy, "a backend")
	} else {
		parts = append(parts, "the real API Management")
	}
	text := "sandbox: " + strings.Join(parts, ", ")
	if s.sources != "" {
		text += "\n" + s.sources
	}
	return text
}

// invite says how to go on.
func (s *sandbox) invite(stdout io.Writer) {
	fmt.Fprintf(stdout, "\nTry it:   ")
	if f, ok := s.httpFunction(); ok {
		curl := "curl -i -H 'x-functions-key: %s' '%s%s'"
		if runtime.GOOS == "windows" { // where quotes are double, and curl another program in PowerShell
			curl = `curl.exe -i -H "x-functions-key: %s" "%s%s"`
		}
		fmt.Fprintf(stdout, curl, s.keys.function, s.base(), s.callPath(f))
	}
	fmt.Fprintf(stdout, "\nConsole:  %s\nCtrl-C stops everything.\n\n", s.consoleAt)
}

// demonstrate shows one HTTP request, one tick, and what the policy says to a caller without the role. The error names what did not go as
// it should.
func (s *sandbox) demonstrate(ctx context.Context, stdout io.Writer) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	go func() { // the third crash of a handler ends the host: nothing more will come
		select {
		case <-s.host.Done():
			stop()
		case <-ctx.Done():
		}
	}()
	var faults []error
	step := 0
	seen := false
	show := func(title string, brief bool, do func() (console.Invocation, error), check func(console.Invocation) error) {
		if ctx.Err() != nil {
			return
		}
		step++
		fmt.Fprintf(stdout, "\n%d. %s\n", step, title)
		inv, err := do()
		if err == nil {
			inv.Report(stdout, brief && seen)
			seen = true
			err = check(inv)
		}
		if err != nil {
			faults = append(faults, fmt.Errorf("%s: %w", title, err))
		}
	}
	function, hasHTTP := s.httpFunction()
	if hasHTTP {
		want := wantSuccess
		if s.gateway == nil {
			want = wantReached
		}
		show("an HTTP request to "+function.Name, false, func() (console.Invocation, error) { return s.callHTTP(ctx, s.host, function) }, want)
	}
	// A timer of a real gateway may write: it runs when somebody fires it.
	if timer, ok := s.timer(); ok && s.gateway != nil {
		show("a timer tick of "+timer.Name, true, func() (console.Invocation, error) { return s.awaitTick(ctx, timer) }, wantSuccess)
	}
	if hasHTTP && s.identity != nil && s.gateway != nil {
		show("the same request by an identity without the app role", false, func() (console.Invocation, error) { return s.callWithoutRole(ctx, function) }, wantRefusal)
	}
	if step == 0 {
		return errors.New("there is neither an HTTP function with GET nor a timer to show")
	}
	select {
	case <-s.host.Done():
		return errors.New("the host has ended by itself: the lines above say why")
	default:
		return errors.Join(append(faults, context.Cause(ctx))...)
	}
}

func wantSuccess(inv console.Invocation) error {
	if inv.Outcome != string(host.Succeeded) || inv.Status >= 300 {
		return errors.New("want success, got " + inv.Result())
	}
	return nil
}

// wantReached is content with any answer of the API behind the gateway's checks of key and token.
func wantReached(inv console.Invocation) error {
	reached := inv.Status == http.StatusNotFound || inv.Status == http.StatusForbidden || inv.Status == http.StatusMethodNotAllowed
	switch {
	case reached && inv.Unrouted:
		return errors.New("the gateway has no operation for this path, so neither key nor token was looked at: name one with CALL=/path")
	case reached && len(inv.Calls) > 0:
		return nil
	}
	return wantSuccess(inv)
}

// timer is the one to show: poll, or else the first.
func (s *sandbox) timer() (console.Function, bool) {
	var found console.Function
	for _, f := range s.functions {
		if f.Trigger == "timer" && (found.Name == "" || f.Name == "poll") {
			found = f
		}
	}
	return found, found.Name != ""
}

// callPath is what the first calls ask of f: what the flag says behind ApimUrl, or a path of the
// sample backend's, or ApimUrl itself where the gateway is real.
func (s *sandbox) callPath(f console.Function) string {
	switch base := strings.TrimSuffix(f.Path, "/hello"); {
	case strings.HasPrefix(s.call, "?"):
		return base + s.call
	case s.call != "":
		return base + "/" + strings.TrimPrefix(s.call, "/")
	case s.gateway == nil:
		return base
	}
	return f.Path + "?who=you"
}

func wantRefusal(inv console.Invocation) error {
	for _, call := range inv.Calls {
		for _, rule := range call.Rules {
			if rule.Result == "refuse" && inv.Status == http.StatusUnauthorized {
				return nil
			}
		}
	}
	return errors.New("want 401 by a rule of the policy, got " + inv.Result())
}

// httpFunction is the function to show HTTP with: relay, or else the first with GET that makes a call.
func (s *sandbox) httpFunction() (console.Function, bool) {
	var found console.Function
	for _, f := range s.functions {
		if f.Trigger != "http" || !slices.Contains(f.Methods, http.MethodGet) || f.Name == "doctor" || f.Name == "health" {
			continue
		}
		if found.Name == "" || f.Name == "relay" {
			found = f
		}
	}
	return found, found.Name != ""
}

// callHTTP sends one request and returns the way it went.
func (s *sandbox) callHTTP(ctx context.Context, h *host.Host, f console.Function) (console.Invocation, error) {
	ctx, stop := context.WithTimeout(ctx, patience)
	defer stop()
	began := len(h.History())
	answer, err := request(ctx, h, host.Firing{Method: http.MethodGet, Path: s.callPath(f)})
	if err != nil {
		return console.Invocation{}, err
	}
	seen := h.History() // of timers and queues as well, which run meanwhile
	last := len(seen) - 1
	for last >= began && (seen[last].Function != f.Name || seen[last].Method == "") {
		last--
	}
	if last < began {
		return console.Invocation{}, fmt.Errorf("the host answered %d without running the function: %s", answer.Status, firstLine(answer.Body))
	}
	inv, err := s.joined(ctx, seen[last].ID)
	// API Management's words where no operation matches, see sandbox/gateway.
	inv.Unrouted = answer.Status == http.StatusNotFound && strings.Contains(answer.Body, `"statusCode"`) && strings.Contains(answer.Body, "Resource not found")
	return inv, err
}

// awaitTick waits for the schedule's first tick; where it is too far off (a schedule of somebody's own) the timer is fired by hand.
func (s *sandbox) awaitTick(ctx context.Context, f console.Function) (console.Invocation, error) {
	ctx, stop := context.WithTimeout(ctx, patience)
	defer stop()
	find := func() (string, bool) {
		for _, seen := range s.host.History() {
			if seen.Function == f.Name && seen.Status != host.Running {
				return seen.ID, true
			}
		}
		return "", false
	}
	scheduled := s.soon && strings.HasSuffix(f.Detail, "(PollSchedule)")
	if !scheduled {
		if _, err := s.host.Fire(f.Name, host.Event{}); err != nil {
			return console.Invocation{}, err
		}
	}
	fired := !scheduled
	for late := time.Now().Add(firstTick + 3*time.Second); ; {
		if id, ok := find(); ok {
			return s.joined(ctx, id)
		}
		if !fired && time.Now().After(late) {
			fired = true
			if _, err := s.host.Fire(f.Name, host.Event{}); err != nil {
				return console.Invocation{}, err
			}
		}
		if !pause(ctx, 20*time.Millisecond) {
			return console.Invocation{}, errors.New("the timer did not run")
		}
	}
}

// callWithoutRole runs the handler a second time, as the user-assigned identity "stranger", which has no app role: an identity cannot lose its
// role for a while, since the platform and the handler keep tokens for a day.
func (s *sandbox) callWithoutRole(ctx context.Context, f console.Function) (console.Invocation, error) {
	environ := with(s.environ, "FunctionIdentity=RunAs=App;AppId="+identity.StrangerClientID, "PollSchedule=0 0 0 1 1 *")
	environ = with(environ, strings.ReplaceAll(f.Name, "-", "_")+"__FunctionIdentity=RunAs=App;AppId="+identity.StrangerClientID)
	h, err := s.newHost("127.0.0.1:0", environ, false)
	if err != nil {
		return console.Invocation{}, err
	}
	defer h.Stop()
	return s.callHTTP(ctx, h, f)
}

// joined waits until the store has the whole way of an invocation: the host's end and, where a call was made, the gateway's record.
func (s *sandbox) joined(ctx context.Context, id string) (console.Invocation, error) {
	deadline := time.Now().Add(2 * time.Second)
	for {
		inv, ok := s.board.Get(id)
		ended := ok && inv.Outcome != "running"
		if ended && (inv.TraceID != "" || time.Now().After(deadline)) && (len(inv.Calls) > 0 || s.gateway == nil || time.Now().After(deadline)) {
			return inv, nil
		}
		if !pause(ctx, 10*time.Millisecond) {
			if ok {
				return inv, nil
			}
			return console.Invocation{}, fmt.Errorf("invocation %s did not end", id)
		}
	}
}

func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func firstLine(text string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(text), "\n")
	return line
}
