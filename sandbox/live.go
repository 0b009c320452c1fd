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
)

// management wires the API behind the console to the stand-ins.
func (b *board) management() *management {
	m := &management{
		store: b.store, functions: b.functions, host: b.host, identity: b.identity, fire: b.fire, gateway: b.gateway, rotated: b.showKey,
		where: "Functions host " + b.base(),
		reset: func() {
			b.collector.reset()
			b.host.Reset()
			if b.identity != nil {
				b.identity.Reset()
			}
			if b.gateway != nil {
				b.gateway.Reset()
			}
		},
	}
	m.standIns = append(m.standIns, hostStandIn(b.host))
	m.actions = append(m.actions,
		action{ID: "restart", Label: "Restart the handler", Path: "/host/restart",
			Help: "The host starts the handler anew, as it does when host.json is saved: it comes without a token"},
		action{ID: "rotate-function", Label: "Rotate function key", Path: "/host/keys/function/rotate",
			Help: "Callers with the old key get 401; the new one stands on the terminal"})
	if b.identity != nil {
		m.where += " · identity endpoint and issuer"
		m.standIns = append(m.standIns, identityStandIn(b.identity))
		m.actions = append(m.actions,
			action{ID: "forget", Label: "Forget tokens", Path: "/identity/forget", Help: "Empties the platform's cache, which Azure keeps for about 24 hours. The handler keeps the token it has"},
			action{ID: "rotate-signing", Label: "Rotate signing key", Path: "/keys/rotate", do: b.rotateSigningKey,
				Help: "The issuer signs with a new key and drops the old one; the gateway reads the key set again"})
	} else {
		m.where += " · Azure CLI"
	}
	if b.gateway != nil {
		m.where += " · gateway with " + filepath.Base(b.policy)
		m.standIns = append(m.standIns, gatewayStandIn(b.gateway))
		for _, key := range []string{gateway.Primary, gateway.Secondary} {
			m.actions = append(m.actions, action{ID: "rotate-" + key, Label: "Rotate " + key + " key",
				Path: "/gateway/subscriptions/sandbox/keys/" + key + "/rotate", Help: "The subscription's " + key + " key is another one at once. The handler keeps what its settings said"})
		}
		m.actions = append(m.actions,
			action{ID: "suspend", Label: "Suspend subscription", Path: "/gateway/subscriptions/sandbox/state/suspended", Help: "Both keys are refused"},
			action{ID: "activate", Label: "Activate subscription", Path: "/gateway/subscriptions/sandbox/state/active", Help: "Both keys are good again"})
	} else {
		m.where += " · API Management"
	}
	return m
}

func (b *board) rotateSigningKey() error {
	if _, err := b.identity.RotateKeys(false); err != nil {
		return err
	}
	if b.gateway != nil {
		b.gateway.ForgetMetadata()
	}
	return nil
}

// fire runs a function: an HTTP function by a request with the function key, any other as its trigger would.
func (b *board) fire(ctx context.Context, name string, f host.Firing) (fireAnswer, error) {
	i := slices.IndexFunc(b.functions, func(have functionInfo) bool { return strings.EqualFold(have.Name, name) })
	if i < 0 {
		return fireAnswer{}, fmt.Errorf("firing %s: %w", name, errNoFunction)
	}
	function := b.functions[i]
	if function.Trigger != "http" {
		if _, err := b.host.Fire(function.Name, f.Event()); err != nil {
			return fireAnswer{}, err
		}
		return fireAnswer{Status: http.StatusAccepted}, nil
	}
	if f.Path == "" {
		f.Path = function.Path
	}
	if !strings.HasPrefix(f.Path, "/") {
		return fireAnswer{}, fmt.Errorf("firing %s: path is %q: want one that begins with /", name, f.Path)
	}
	return request(ctx, b.host, f)
}

// request calls a host as a caller with the master key does, which fits every level.
func request(ctx context.Context, h *host.Host, f host.Firing) (fireAnswer, error) {
	status, body, err := h.Call(ctx, f)
	return fireAnswer{Status: status, Body: body}, err
}

// showKey prints a key that was rotated where the first one was printed: on the terminal.
func (b *board) showKey(name, key string) {
	b.printing.Lock()
	defer b.printing.Unlock()
	fmt.Fprintf(b.stderr, "sandbox: the host's %s key from now on: %s\n", name, key)
}

// follow prints one line for each invocation that ends, until ctx does.
func (b *board) follow(ctx context.Context, stdout io.Writer) {
	invocations, stop := b.store.listen()
	defer stop()
	printed := map[string]bool{}
	for _, inv := range b.store.all() {
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
			// The handler's line, which joins the parts, comes a moment after the host's.
			time.AfterFunc(300*time.Millisecond, func() {
				if joined, ok := b.store.get(inv.ID); ok {
					inv = joined
				}
				b.printing.Lock()
				defer b.printing.Unlock()
				fmt.Fprintf(stdout, "%s  %-10s %s  ->  %s in %s\n", inv.Started.Local().Format("15:04:05"), inv.Function, inv.Request,
					strings.Join(nonEmpty(outcome(inv), inv.Cause), ": "), milliseconds(inv.DurationMS))
			})
		}
	}
}
