package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"apimrelay/sandbox/host"
	"apimrelay/sandbox/identity"
)

// So long a first call may take: the handler's start is in it.
const patience = 30 * time.Second

// run shows the first calls and, unless once is set, stays up until ctx ends. It returns the exit status.
func (b *board) run(ctx context.Context, stdout, stderr io.Writer) int {
	status := 0
	if !b.quiet {
		fmt.Fprintf(stdout, "%s\n", b.title())
		err := b.demonstrate(ctx, stdout)
		switch {
		case ctx.Err() != nil && !b.once:
			return 0
		case err != nil:
			for line := range strings.SplitSeq(err.Error(), "\n") {
				fmt.Fprintf(stderr, "sandbox: %s\n", line)
			}
			status = 1
		}
	}
	if b.once {
		return status
	}
	b.invite(stdout)
	go b.follow(ctx, stdout)
	select {
	case <-ctx.Done():
		return 0
	case <-b.host.Done():
		fmt.Fprintln(stderr, "sandbox: the host has ended by itself: its last lines above say why")
		return 1
	}
}

func (b *board) title() string {
	parts := []string{"the Functions host on " + b.root}
	if b.identity != nil {
		parts = append(parts, "the identity endpoint with its issuer")
	} else {
		parts = append(parts, "the real Azure CLI")
	}
	if b.gateway != nil {
		parts = append(parts, "API Management with "+b.policy, "a backend")
	} else {
		parts = append(parts, "the real API Management")
	}
	return "sandbox: " + strings.Join(parts, ", ")
}

// invite says how to go on.
func (b *board) invite(stdout io.Writer) {
	fmt.Fprintf(stdout, "\nTry it:   ")
	if f, ok := b.httpFunction(); ok {
		fmt.Fprintf(stdout, "curl -i -H 'x-functions-key: %s' '%s%s?who=you'", b.keys.function, b.base(), f.Path)
	}
	fmt.Fprintf(stdout, "\nConsole:  %s\nCtrl-C stops everything.\n\n", b.consoleAt)
}

// demonstrate shows one HTTP request, one tick, and what the policy says to a caller without the role. The error names what did not go as
// it should.
func (b *board) demonstrate(ctx context.Context, stdout io.Writer) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	go func() { // the third crash of a handler ends the host: nothing more will come
		select {
		case <-b.host.Done():
			stop()
		case <-ctx.Done():
		}
	}()
	var faults []error
	step := 0
	seen := false
	show := func(title string, brief bool, do func() (Invocation, error), check func(Invocation) error) {
		if ctx.Err() != nil {
			return
		}
		step++
		fmt.Fprintf(stdout, "\n%d. %s\n", step, title)
		inv, err := do()
		if err == nil {
			report(stdout, inv, brief && seen)
			seen = true
			err = check(inv)
		}
		if err != nil {
			faults = append(faults, fmt.Errorf("%s: %w", title, err))
		}
	}
	function, hasHTTP := b.httpFunction()
	if hasHTTP {
		show("an HTTP request to "+function.Name, false, func() (Invocation, error) { return b.callHTTP(ctx, b.host, function) }, wantSuccess)
	}
	if i := slices.IndexFunc(b.functions, func(f functionInfo) bool { return f.Trigger == "timer" }); i >= 0 {
		timer := b.functions[i]
		show("a timer tick of "+timer.Name, true, func() (Invocation, error) { return b.awaitTick(ctx, timer) }, wantSuccess)
	}
	if hasHTTP && b.identity != nil && b.gateway != nil {
		show("the same request by an identity without the app role", false, func() (Invocation, error) { return b.callWithoutRole(ctx, function) }, wantRefusal)
	}
	if step == 0 {
		return errors.New("there is neither an HTTP function with GET nor a timer to show")
	}
	select {
	case <-b.host.Done():
		return errors.New("the host has ended by itself: the lines above say why")
	default:
		return errors.Join(append(faults, context.Cause(ctx))...)
	}
}

func wantSuccess(inv Invocation) error {
	if inv.Outcome != string(host.Succeeded) || inv.Status >= 300 {
		return errors.New("want success, got " + strings.Join(nonEmpty(outcome(inv), inv.Cause), ": "))
	}
	return nil
}

func wantRefusal(inv Invocation) error {
	for _, call := range inv.Calls {
		for _, rule := range call.Rules {
			if rule.Result == "refuse" && inv.Status == http.StatusUnauthorized {
				return nil
			}
		}
	}
	return errors.New("want 401 by a rule of the policy, got " + strings.Join(nonEmpty(outcome(inv), inv.Cause), ": "))
}

// httpFunction is the function to show HTTP with: relay, or else the first with GET that makes a call.
func (b *board) httpFunction() (functionInfo, bool) {
	var found functionInfo
	for _, f := range b.functions {
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
func (b *board) callHTTP(ctx context.Context, h *host.Host, f functionInfo) (Invocation, error) {
	ctx, stop := context.WithTimeout(ctx, patience)
	defer stop()
	before := len(h.History())
	answer, err := request(ctx, h, host.Firing{Method: http.MethodGet, Path: f.Path + "?who=you"})
	if err != nil {
		return Invocation{}, err
	}
	seen := h.History()
	if len(seen) == before {
		return Invocation{}, fmt.Errorf("the host answered %d without running the function: %s", answer.Status, firstLine(answer.Body))
	}
	return b.joined(ctx, seen[len(seen)-1].ID)
}

// awaitTick waits for the schedule's first tick; where it is too far off (a schedule of somebody's own) the timer is fired by hand.
func (b *board) awaitTick(ctx context.Context, f functionInfo) (Invocation, error) {
	ctx, stop := context.WithTimeout(ctx, patience)
	defer stop()
	find := func() (string, bool) {
		for _, seen := range b.host.History() {
			if seen.Function == f.Name && seen.Status != host.Running {
				return seen.ID, true
			}
		}
		return "", false
	}
	scheduled := strings.EqualFold(f.Detail, "%PollSchedule%") && b.identity != nil
	if !scheduled {
		if _, err := b.host.Fire(f.Name, host.Event{}); err != nil {
			return Invocation{}, err
		}
	}
	fired := !scheduled
	for late := time.Now().Add(firstTick + 3*time.Second); ; {
		if id, ok := find(); ok {
			return b.joined(ctx, id)
		}
		if !fired && time.Now().After(late) {
			fired = true
			if _, err := b.host.Fire(f.Name, host.Event{}); err != nil {
				return Invocation{}, err
			}
		}
		if !pause(ctx, 20*time.Millisecond) {
			return Invocation{}, errors.New("the timer did not run")
		}
	}
}

// callWithoutRole runs the handler a second time, as the user-assigned identity "stranger", which has no app role: an identity cannot lose its
// role for a while, since the platform and the handler keep tokens for a day.
func (b *board) callWithoutRole(ctx context.Context, f functionInfo) (Invocation, error) {
	environ := with(b.environ, "FunctionIdentity=RunAs=App;AppId="+identity.StrangerClientID, "PollSchedule=0 0 0 1 1 *")
	h, err := b.newHost("127.0.0.1:0", environ)
	if err != nil {
		return Invocation{}, err
	}
	defer h.Stop()
	return b.callHTTP(ctx, h, f)
}

// joined waits until the store has the whole way of an invocation: the host's end and, where a call was made, the gateway's record.
func (b *board) joined(ctx context.Context, id string) (Invocation, error) {
	deadline := time.Now().Add(2 * time.Second)
	for {
		inv, ok := b.store.get(id)
		ended := ok && inv.Outcome != "running"
		if ended && (inv.TraceID != "" || time.Now().After(deadline)) && (len(inv.Calls) > 0 || b.gateway == nil || time.Now().After(deadline)) {
			return inv, nil
		}
		if !pause(ctx, 10*time.Millisecond) {
			if ok {
				return inv, nil
			}
			return Invocation{}, fmt.Errorf("invocation %s did not end", id)
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
