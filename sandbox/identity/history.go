package identity

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

const historySize = 500

// Request is what is kept of a request: no token, no secret, no value of a header but User-Agent.
type Request struct {
	ID         int64     `json:"id"` // counts up from 1
	Time       time.Time `json:"time"`
	Kind       string    `json:"kind"` // managed identity, metadata, key set, client secret, certificate, federated, azure cli, ...
	Method     string    `json:"method"`
	Path       string    `json:"path"`
	ClientID   string    `json:"client_id,omitempty"`
	Resource   string    `json:"resource,omitempty"` // resource or scope, as asked for
	Status     int       `json:"status"`             // 0: no answer
	Cause      string    `json:"cause,omitempty"`    // of a refusal; Azure shows it to nobody for managed identities
	Fault      string    `json:"fault,omitempty"`    // the fault that answered
	Token      *Facts    `json:"token,omitempty"`
	UserAgent  string    `json:"user_agent,omitempty"`
	DurationMS float64   `json:"duration_ms"`
}

type history struct {
	last    int64
	entries []Request
}

// History returns the requests after the one of that id, oldest first; 0 returns all that are kept (the last 500).
func (s *Server) History(after int64) []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	i, _ := slices.BinarySearchFunc(s.history.entries, after+1, func(r Request, id int64) int { return int(r.ID - id) })
	return slices.Clone(s.history.entries[i:])
}

func (h *history) reset() { h.entries = nil }

func entryOf(r *http.Request) *Request {
	return &Request{Time: time.Now(), Method: r.Method, Path: clip(r.URL.Path), UserAgent: clip(r.UserAgent()), Kind: kindOfPath(r.URL)}
}

func kindOfPath(u *url.URL) string {
	switch {
	case isEndpointPath(u.Path):
		return "managed identity"
	case strings.HasSuffix(u.Path, "/.well-known/openid-configuration"):
		return "metadata"
	case strings.HasSuffix(u.Path, "/keys"):
		return "key set"
	case strings.HasSuffix(u.Path, "/token"):
		return "token endpoint"
	default:
		return "other"
	}
}

func (s *Server) recordLocked(entry *Request, status int) {
	s.history.last++
	entry.ID, entry.Status = s.history.last, status
	entry.Resource, entry.ClientID, entry.Cause = clip(entry.Resource), clip(entry.ClientID), clip(entry.Cause)
	entry.DurationMS = float64(time.Since(entry.Time).Microseconds()) / 1000
	s.history.entries = append(s.history.entries, *entry)
	if n := len(s.history.entries); n > historySize {
		s.history.entries = slices.Clone(s.history.entries[n-historySize:])
	}
}

// clip bounds what a caller may have us keep.
func clip(text string) string {
	if len(text) > 300 {
		return strings.ToValidUTF8(text[:300], "") + "…"
	}
	return text
}
