package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"apimrelay/sandbox/gateway"
	"apimrelay/sandbox/host"

	"apimrelay/sandbox/console"
)

// api wires the API behind the console to the stand-ins.
func (s *sandbox) api() *console.API {
	m := &console.API{
		Board: s.board, Functions: s.functions, Host: s.host, Identity: s.identity, Fire: s.fire, Gateway: s.gateway, Rotated: s.showKey,
		Where: "Functions host " + s.base(),
		Reset: func() {
			s.collector.Reset()
			s.host.Reset()
			if s.identity != nil {
				s.identity.Reset()
			}
			if s.gateway != nil {
				s.gateway.Reset()
			}
		},
	}
	m.StandIns = append(m.StandIns, console.HostStandIn(s.host))
	m.Actions = append(m.Actions,
		console.Action{ID: "restart", Label: "Restart the handler", Path: "/host/restart",
			Help: "The host starts the handler anew, as it does when host.json is saved: it comes without a token"},
		console.Action{ID: "rotate-function", Label: "Rotate function key", Path: "/host/keys/function/rotate",
			Help: "Callers with the old key get 401; the new one stands on the terminal"})
	if s.identity != nil {
		m.Where += " · identity endpoint and issuer"
		m.StandIns = append(m.StandIns, console.IdentityStandIn(s.identity))
		m.Actions = append(m.Actions,
			console.Action{ID: "forget", Label: "Forget tokens", Path: "/identity/forget", Help: "Empties the platform's cache, which Azure keeps for about 24 hours. The handler keeps the token it has"},
			console.Action{ID: "rotate-signing", Label: "Rotate signing key", Path: "/keys/rotate", Do: s.rotateSigningKey,
				Help: "The issuer signs with a new key and drops the old one; the gateway reads the key set again"})
	} else {
		m.Where += " · Azure CLI"
	}
	if s.gateway != nil {
		m.Where += " · gateway with " + filepath.Base(s.policy)
		m.StandIns = append(m.StandIns, console.GatewayStandIn(s.gateway))
		for _, key := range []string{gateway.Primary, gateway.Secondary} {
			m.Actions = append(m.Actions, console.Action{ID: "rotate-" + key, Label: "Rotate " + key + " key",
				Path: "/gateway/subscriptions/sandbox/keys/" + key + "/rotate", Help: "The subscription's " + key + " key is another one at once. The handler keeps what its settings said"})
		}
		m.Actions = append(m.Actions,
			console.Action{ID: "suspend", Label: "Suspend subscription", Path: "/gateway/subscriptions/sandbox/state/suspended", Help: "Both keys are refused"},
			console.Action{ID: "activate", Label: "Activate subscription", Path: "/gateway/subscriptions/sandbox/state/active", Help: "Both keys are good again"})
	} else {
		m.Where += " · API Management"
	}
	return m
}

func (s *sandbox) rotateSigningKey() error {
	if _, err := s.identity.RotateKeys(false); err != nil {
		return err
	}
	if s.gateway != nil {
		s.gateway.ForgetMetadata()
	}
	return nil
}

// fire runs a function: an HTTP function by a request with the function key, any other as its trigger would.
func (s *sandbox) fire(ctx context.Context, name string, f host.Firing) (console.Fired, error) {
	i := slices.IndexFunc(s.functions, func(have console.Function) bool { return strings.EqualFold(have.Name, name) })
	if i < 0 {
		return console.Fired{}, fmt.Errorf("firing %s: %w", name, console.ErrNoFunction)
	}
	function := s.functions[i]
	if function.Trigger != "http" {
		run, err := s.host.Fire(function.Name, f.Event())
		if err != nil {
			return console.Fired{}, err
		}
		return console.Fired{Status: http.StatusAccepted, ID: run.ID}, nil
	}
	if f.Path == "" {
		f.Path = function.Path
	}
	if !strings.HasPrefix(f.Path, "/") {
		return console.Fired{}, fmt.Errorf("firing %s: path is %q: want one that begins with /", name, f.Path)
	}
	return request(ctx, s.host, f)
}

// request calls a host as a caller with the master key does, which fits every level.
func request(ctx context.Context, h *host.Host, f host.Firing) (console.Fired, error) {
	status, header, body, err := h.Call(ctx, f)
	return console.Fired{Status: status, Header: header, Body: body}, err
}

// showKey prints a key that was rotated where the first one was printed: on the terminal.
func (s *sandbox) showKey(name, key string) {
	s.printing.Lock()
	defer s.printing.Unlock()
	fmt.Fprintf(s.stderr, "sandbox: the host's %s key from now on: %s\n", name, key)
}

// follow prints one line for each invocation that ends and is not one of those shown, until ctx does.
func (s *sandbox) follow(ctx context.Context, stdout io.Writer, invocations <-chan console.Invocation, shown []console.Invocation) {
	// The handler's line, which joins the parts, comes a moment after the host's.
	type due struct {
		inv console.Invocation
		at  time.Time
	}
	ended := make(chan due, 1000)
	go func() {
		for {
			select {
			case <-ctx.Done():
				return
			case next := <-ended:
				if !pause(ctx, time.Until(next.at)) {
					return
				}
				inv := next.inv
				if joined, ok := s.board.Get(inv.ID); ok {
					inv = joined
				}
				s.printing.Lock()
				fmt.Fprintln(stdout, inv.Line())
				s.printing.Unlock()
			}
		}
	}()
	printed := map[string]bool{}
	for _, inv := range shown {
		printed[inv.ID] = true
	}
	for {
		select {
		case <-ctx.Done():
			return
		case inv := <-invocations:
			if inv.Outcome == "running" || printed[inv.ID] {
				continue
			}
			printed[inv.ID] = true
			select {
			case ended <- due{inv, time.Now().Add(300 * time.Millisecond)}:
			case <-ctx.Done():
			}
		}
	}
}
