package identity

import (
	"fmt"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Names of the faults. The first group works on a request, the second on the tokens that are minted, the third on the CLI.
const (
	Latency     = "latency"       // wait DelayMS first
	Hang        = "hang"          // never answer, until the fault is cleared
	Reset       = "reset"         // reset the connection instead of answering
	ResetInBody = "reset-in-body" // reset it in the middle of the body
	Garbage     = "garbage"       // 200 with what is no JSON
	HTML        = "html"          // 200 with a web page, as a proxy answers
	Status      = "status"        // Status, with RetryAfter when set
	EmptyToken  = "empty-token"   // 200 with an empty access_token

	ExpiredToken  = "expired-token"  // expired ten minutes ago
	WrongTenant   = "wrong-tenant"   // from another tenant
	RoleMissing   = "role-missing"   // no roles, whatever is granted
	SameToken     = "same-token"     // the platform's cache keeps a token past its end
	ClockSkew     = "clock-skew"     // the issuer's clock is DelayMS ahead, negative: behind
	ShortLife     = "short-life"     // tokens live DelayMS
	StaleMetadata = "stale-metadata" // the key set stays as it is now, whatever is rotated

	SignedOut = "signed-out" // the CLI says "az login"
	NoConsent = "no-consent" // AADSTS65001
)

// Where a fault works.
const (
	ToEndpoint = "endpoint" // identity endpoint
	ToIssuer   = "issuer"   // metadata, key set, token endpoint
	ToCLI      = "cli"      // the pretended Azure CLI
)

// Fault is something that goes wrong on purpose. Faults of different names and places can be on together.
type Fault struct {
	Name string `json:"name"`
	// On is where it works: endpoint, issuer or cli. Empty: endpoint and issuer; a fault of tokens works wherever one is minted.
	On string `json:"on,omitempty"`
	// DelayMS is the milliseconds of latency, clock-skew and short-life.
	DelayMS    int    `json:"delay_ms,omitempty"`
	Status     int    `json:"status,omitempty"`      // of the fault status
	RetryAfter string `json:"retry_after,omitempty"` // of the fault status
	Times      int    `json:"times,omitempty"`       // for so many requests; 0: until cleared
}

var (
	requestFaults = []string{Latency, Hang, Reset, ResetInBody, Garbage, HTML, Status, EmptyToken}
	tokenFaults   = []string{ExpiredToken, WrongTenant, RoleMissing, SameToken, ClockSkew, ShortLife}
	cliFaults     = []string{SignedOut, NoConsent}
)

// FaultNames lists the names that SetFault knows.
func FaultNames() []string {
	return slices.Concat(requestFaults, tokenFaults, []string{StaleMetadata}, cliFaults)
}

type faults struct {
	active []Fault
	free   map[string]chan struct{} // by name: closed when the fault is cleared, which ends what it holds
}

// SetFault switches a fault on, or replaces the one of the same name and place. A fault of tokens empties the platform's
// cache, so that the next token shows it.
func (s *Server) SetFault(f Fault) error {
	if !slices.Contains(FaultNames(), f.Name) {
		return fmt.Errorf("setting a fault of identity: no fault %q: want one of %s", f.Name, strings.Join(FaultNames(), ", "))
	}
	if !slices.Contains([]string{"", ToEndpoint, ToIssuer, ToCLI}, f.On) {
		return fmt.Errorf("setting the fault %s of identity: no place %q: want endpoint, issuer, cli, or nothing for all", f.Name, f.On)
	}
	if f.Times < 0 {
		return fmt.Errorf("setting the fault %s of identity: times is %d: want 0 or more", f.Name, f.Times)
	}
	switch f.Name {
	case Status:
		if f.Status < 200 || f.Status > 599 {
			return fmt.Errorf("setting the fault status of identity: status is %d: want 200 to 599", f.Status)
		}
	case Latency, ShortLife:
		if f.DelayMS <= 0 {
			return fmt.Errorf("setting the fault %s of identity: delay_ms is %d: want more than 0", f.Name, f.DelayMS)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults.remove(f.Name, f.On)
	s.faults.active = append(s.faults.active, f)
	s.afterFaultLocked(f.Name)
	if f.Name == StaleMetadata {
		s.stale = s.keySetLocked("")
	}
	return nil
}

// ClearFault switches a fault off wherever it works, and ends what it holds: requests that hang are reset. "" clears all.
func (s *Server) ClearFault(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if name == "" {
		for _, f := range s.faults.active {
			s.afterFaultLocked(f.Name)
		}
		s.faults.reset()
		s.stale = nil
		return
	}
	s.faults.active = slices.DeleteFunc(s.faults.active, func(f Fault) bool { return f.Name == name })
	s.faults.release(name)
	s.afterFaultLocked(name)
}

// Faults lists what is on.
func (s *Server) Faults() []Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.faults.active)
}

func (s *Server) afterFaultLocked(name string) {
	if name == StaleMetadata {
		s.stale = nil
	}
	if name != SameToken && slices.Contains(tokenFaults, name) {
		clear(s.cache)
	}
}

// release ends what the faults of a name hold; "" is every name.
func (f *faults) release(name string) {
	for held, free := range f.free {
		if name == "" || held == name {
			close(free)
			delete(f.free, held)
		}
	}
}

func (f *faults) cleared(name string) <-chan struct{} {
	if f.free == nil {
		f.free = map[string]chan struct{}{}
	}
	if f.free[name] == nil {
		f.free[name] = make(chan struct{})
	}
	return f.free[name]
}

func (f *faults) remove(name, on string) {
	f.active = slices.DeleteFunc(f.active, func(have Fault) bool { return have.Name == name && have.On == on })
}

func (f *faults) reset() {
	f.active = nil
	f.release("")
}

func (f *faults) find(name, place string) int {
	return slices.IndexFunc(f.active, func(have Fault) bool {
		return have.Name == name && (have.On == place || have.On == "" && place != ToCLI || place == "")
	})
}

func (f *faults) on(name string) bool { return f.find(name, "") >= 0 }

// take says whether a fault is on at a place, and counts it.
func (f *faults) take(name, place string) bool {
	i := f.find(name, place)
	if i < 0 {
		return false
	}
	f.count(i)
	return true
}

func (f *faults) count(i int) {
	if f.active[i].Times == 0 {
		return
	}
	if f.active[i].Times--; f.active[i].Times == 0 {
		f.active = slices.Delete(f.active, i, i+1)
	}
}

// countMint counts a minted token for the faults of tokens and says whether one of them is on for a number of tokens only.
func (f *faults) countMint() (once bool) {
	for _, name := range tokenFaults {
		if i := f.find(name, ""); i >= 0 && f.active[i].Times > 0 {
			once = true
			f.count(i)
		}
	}
	return once
}

func (f *faults) skew() time.Duration {
	if i := f.find(ClockSkew, ""); i >= 0 {
		return time.Duration(f.active[i].DelayMS) * time.Millisecond
	}
	return 0
}

func (f *faults) life() (time.Duration, bool) {
	if i := f.find(ShortLife, ""); i >= 0 {
		return time.Duration(f.active[i].DelayMS) * time.Millisecond, true
	}
	return 0, false
}

// takeRequest returns the faults of the first group that a request meets, latency first.
func (f *faults) takeRequest(place string) []Fault {
	var out []Fault
	for _, name := range requestFaults {
		if name == EmptyToken {
			continue // its place is the answer's content
		}
		if i := f.find(name, place); i >= 0 {
			out = append(out, f.active[i])
			f.count(i)
		}
	}
	return out
}

// faulty has the faults of the first group happen before next.
func (s *Server) faulty(place string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		met := s.faults.takeRequest(place)
		cleared := map[string]<-chan struct{}{Latency: s.faults.cleared(Latency), Hang: s.faults.cleared(Hang)}
		s.mu.Unlock()
		for _, f := range met {
			if f.Name == Latency {
				if !s.pause(r, time.Duration(f.DelayMS)*time.Millisecond, cleared[Latency]) {
					s.recordFault(r, f, 0)
					return
				}
				continue
			}
			s.misbehave(w, r, f, cleared[Hang])
			return
		}
		next.ServeHTTP(w, r)
	})
}

func (s *Server) pause(r *http.Request, d time.Duration, cleared <-chan struct{}) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-cleared:
		return true
	case <-r.Context().Done():
		return false
	}
}

func (s *Server) misbehave(w http.ResponseWriter, r *http.Request, f Fault, cleared <-chan struct{}) {
	switch f.Name {
	case Hang:
		s.recordFault(r, f, 0)
		select {
		case <-cleared:
		case <-r.Context().Done():
		}
		resetConnection(w, "")
	case Reset:
		s.recordFault(r, f, 0)
		resetConnection(w, "")
	case ResetInBody:
		s.recordFault(r, f, http.StatusOK)
		resetConnection(w, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2000\r\n\r\n{\"access_token\":\"eyJ")
	case Garbage:
		s.recordFault(r, f, http.StatusOK)
		w.Header().Set("Content-Type", "application/json")
		w.Write([]byte("\x00\x01{{{ not json"))
	case HTML:
		s.recordFault(r, f, http.StatusOK)
		w.Header().Set("Content-Type", "text/html")
		w.Write([]byte("<!DOCTYPE html><html><body><h1>Proxy</h1></body></html>\n"))
	case Status:
		s.recordFault(r, f, f.Status)
		if f.RetryAfter != "" {
			w.Header().Set("Retry-After", f.RetryAfter)
		}
		writeJSON(w, f.Status, endpointError{StatusCode: f.Status, Message: noToken, CorrelationID: newGUID()})
	}
}

func (s *Server) recordFault(r *http.Request, f Fault, status int) {
	entry := entryOf(r)
	entry.Fault = f.Name
	if f.Name == Status {
		entry.Fault += " " + strconv.Itoa(f.Status)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.recordLocked(entry, status)
}

// resetConnection writes text, if any, and resets the connection: with a linger of 0 the kernel sends RST, not FIN.
func resetConnection(w http.ResponseWriter, text string) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler) // HTTP/2: the stream is reset
	}
	defer conn.Close()
	if text != "" {
		conn.Write([]byte(text))
	}
	inner := conn
	if t, ok := conn.(interface{ NetConn() net.Conn }); ok {
		inner = t.NetConn()
	}
	if tcp, ok := inner.(*net.TCPConn); ok {
		tcp.SetLinger(0)
	}
}
