package gateway

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"

	"apimrelay/internal/policy"
	"apimrelay/internal/secret"
)

// State of a subscription.
type State string

// The states that matter to a call.
const (
	Active    State = "active"
	Suspended State = "suspended"
)

// Subscription gives access to a product, to one API, or (both names empty) to all APIs. Its two keys are worth the same.
type Subscription struct {
	Name         string
	Product, API string
	State        State // "" is active
	// Primary and Secondary are generated where they are empty.
	Primary, Secondary secret.String
}

// The names of the two keys.
const (
	Primary   = "primary"
	Secondary = "secondary"
)

// SubscriptionInfo is what may be shown of a subscription.
type SubscriptionInfo struct {
	Name    string `json:"name"`
	Product string `json:"product,omitempty"`
	API     string `json:"api,omitempty"`
	State   State  `json:"state"`
}

type subscriptions struct {
	mu  sync.RWMutex
	all []Subscription
}

func newSubscriptions(c Config) (*subscriptions, error) {
	s := &subscriptions{}
	var faults []error
	keys := map[string]string{}
	for _, one := range c.Subscriptions {
		if slices.ContainsFunc(s.all, func(other Subscription) bool { return other.Name == one.Name }) || one.Name == "" {
			faults = append(faults, fmt.Errorf("subscription %q: want a name of its own", one.Name))
		}
		if one.State == "" {
			one.State = Active
		}
		if one.Primary.Empty() {
			one.Primary = newKey()
		}
		if one.Secondary.Empty() {
			one.Secondary = newKey()
		}
		for _, key := range []string{one.Primary.Reveal(), one.Secondary.Reveal()} {
			if other, taken := keys[key]; taken {
				faults = append(faults, fmt.Errorf("subscription %q: a key is also one of %q: want keys that differ", one.Name, other))
			}
			keys[key] = one.Name
			if strings.TrimSpace(key) != key || strings.ContainsFunc(key, func(r rune) bool { return r < ' ' || r > '~' }) {
				faults = append(faults, fmt.Errorf("subscription %q: a key has blanks at its ends or is not printable ASCII", one.Name))
			}
		}
		s.all = append(s.all, one)
	}
	return s, errors.Join(faults...)
}

// newKey makes a key as the service does: 32 hexadecimal digits.
func newKey() secret.String {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	return secret.New(hex.EncodeToString(b[:]))
}

// access is the result of the key check.
type access struct {
	subscription string
	product      string // whose policy applies
	key          string // primary or secondary, "" for a call without a key
	from         string // header or query, "" for a call without a key
	// refused is the message of the 401, "" where the call may go on.
	refused, reason string
}

// The wire says "an API" in the first where the documentation says "this API".
const (
	missingKey = "Access denied due to missing subscription key. Make sure to include subscription key when making requests to an API."
	invalidKey = "Access denied due to invalid subscription key. Make sure to provide a valid key for an active subscription."
)

// admit checks the subscription key of a request to an API. The query is looked at only when the header is absent.
func (s *subscriptions) admit(a *api, r *http.Request) access {
	key, from := strings.Join(r.Header.Values(a.KeyHeader), ","), "header"
	if key == "" {
		key, _ = policy.Query(r.URL.RawQuery, a.KeyQuery)
		from = "query"
	}
	if key == "" {
		for _, p := range a.products {
			if p.Open {
				return access{product: p.Name}
			}
		}
		if a.Open {
			return access{}
		}
		return access{refused: missingKey, reason: "SubscriptionKeyNotFound"}
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, one := range s.all {
		which := Primary
		if key == one.Secondary.Reveal() {
			which = Secondary
		} else if key != one.Primary.Reveal() {
			continue
		}
		granted := access{subscription: one.Name, product: one.Product, key: which, from: from}
		inProduct := slices.ContainsFunc(a.products, func(p *Product) bool { return p.Name == one.Product })
		if one.State != Active || one.API != "" && one.API != a.Name || one.Product != "" && !inProduct {
			granted.refused, granted.reason = invalidKey, "SubscriptionKeyInvalid"
		}
		return granted
	}
	return access{key: "unknown", from: from, refused: invalidKey, reason: "SubscriptionKeyInvalid"}
}

func (s *subscriptions) find(name string) (*Subscription, error) {
	for i := range s.all {
		if s.all[i].Name == name {
			return &s.all[i], nil
		}
	}
	return nil, fmt.Errorf("no subscription is named %q", name)
}

// Subscriptions lists the subscriptions without their keys.
func (g *Gateway) Subscriptions() []SubscriptionInfo {
	g.subs.mu.RLock()
	defer g.subs.mu.RUnlock()
	var all []SubscriptionInfo
	for _, s := range g.subs.all {
		all = append(all, SubscriptionInfo{s.Name, s.Product, s.API, s.State})
	}
	return all
}

// Keys returns the two keys of a subscription.
func (g *Gateway) Keys(subscription string) (primary, secondary secret.String, err error) {
	g.subs.mu.RLock()
	defer g.subs.mu.RUnlock()
	s, err := g.subs.find(subscription)
	if err != nil {
		return secret.String{}, secret.String{}, err
	}
	return s.Primary, s.Secondary, nil
}

// RotateKey regenerates the key named Primary or Secondary and returns the new one. The old one is invalid at once.
func (g *Gateway) RotateKey(subscription, key string) (secret.String, error) {
	g.subs.mu.Lock()
	defer g.subs.mu.Unlock()
	s, err := g.subs.find(subscription)
	if err != nil {
		return secret.String{}, err
	}
	fresh := newKey()
	switch key {
	case Primary:
		s.Primary = fresh
	case Secondary:
		s.Secondary = fresh
	default:
		return secret.String{}, fmt.Errorf("key %q: want %s or %s", key, Primary, Secondary)
	}
	return fresh, nil
}

// SetState activates or suspends a subscription.
func (g *Gateway) SetState(subscription string, state State) error {
	if state != Active && state != Suspended {
		return fmt.Errorf("state %q: want %s or %s", state, Active, Suspended)
	}
	g.subs.mu.Lock()
	defer g.subs.mu.Unlock()
	s, err := g.subs.find(subscription)
	if err != nil {
		return err
	}
	s.State = state
	return nil
}
