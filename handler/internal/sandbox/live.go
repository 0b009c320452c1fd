package sandbox

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"apimrelay/handler/internal/sandbox/gateway"
	"apimrelay/handler/internal/sandbox/host"
)

// management wires the API behind the console to the stand-ins.
func (b *board) management() *management {
	m := &management{
		store: b.store, functions: b.functions, identity: b.identity, fire: b.fire, gateway: b.gateway,
		where: "Functions host " + b.base(),
		reset: func() {
			b.collector.reset()
			if b.identity != nil {
				b.identity.Reset()
			}
			if b.gateway != nil {
				b.gateway.Reset()
			}
		},
	}
	m.actions = append(m.actions, action{ID: "restart", Label: "Restart the handler", Path: "/host/restart", do: b.restart,
		Help: "The host starts the handler anew, as it does when host.json is saved: it comes without a token"})
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
func (b *board) fire(ctx context.Context, name string, f fireRequest) (fireAnswer, error) {
	i := slices.IndexFunc(b.functions, func(have functionInfo) bool { return strings.EqualFold(have.Name, name) })
	if i < 0 {
		return fireAnswer{}, fmt.Errorf("firing %s: %w", name, errNoFunction)
	}
	function := b.functions[i]
	if function.Trigger != "http" {
		var event host.Event
		if text := f.input(); len(f.Input) > 0 && text != "" {
			event.Input = &text
		}
		if _, err := b.host.Fire(function.Name, event); err != nil {
			return fireAnswer{}, err
		}
		return fireAnswer{Status: http.StatusAccepted}, nil
	}
	if f.Method == "" {
		f.Method = http.MethodGet
	}
	if f.Path == "" {
		f.Path = function.Path
	}
	if !strings.HasPrefix(f.Path, "/") {
		return fireAnswer{}, fmt.Errorf("firing %s: path is %q: want one that begins with /", name, f.Path)
	}
	return b.request(ctx, b.base(), f)
}

// request calls the host as a caller with the function key does (the master key where a function wants it: it fits every level).
func (b *board) request(ctx context.Context, base string, f fireRequest) (fireAnswer, error) {
	req, err := http.NewRequestWithContext(ctx, f.Method, base+f.Path, bytes.NewReader([]byte(f.Body)))
	if err != nil {
		return fireAnswer{}, fmt.Errorf("making a request: %w", err)
	}
	req.Header.Set("x-functions-key", b.keys.master)
	for name, value := range f.Header {
		req.Header.Set(name, value)
	}
	client := &http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true}, // no proxy: the host is on loopback
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	res, err := client.Do(req)
	if err != nil {
		return fireAnswer{}, fmt.Errorf("calling the host: %w", err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, 4096))
	if err != nil {
		return fireAnswer{}, fmt.Errorf("reading the host's answer: %w", err)
	}
	return fireAnswer{Status: res.StatusCode, Body: string(body)}, nil
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
