// Package loopback keeps the sandbox to this machine: it listens on loopback addresses only, and its pages and management API answer
// nobody else's web page.
package loopback

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
)

// Listen listens on a TCP address of this machine: "127.0.0.1:7071", "localhost:0", "[::1]:0", or ":7071" for 127.0.0.1. Any other
// host is an error.
func Listen(addr string) (net.Listener, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, fmt.Errorf("listening on %q: want host:port: %w", addr, err)
	}
	if host == "" {
		host = "127.0.0.1"
	}
	if !isLoopback(host) {
		return nil, fmt.Errorf("listening on %q: the sandbox listens on loopback only: want 127.0.0.1, ::1 or localhost", addr)
	}
	l, err := net.Listen("tcp", net.JoinHostPort(host, port))
	if err != nil {
		return nil, fmt.Errorf("listening on %q: %w", addr, err)
	}
	return l, nil
}

func isLoopback(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	ip, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil && ip.IsLoopback()
}

// Guard refuses requests that another web page could have caused: a Host that is not loopback (a name that was made to point here, DNS
// rebinding), an Origin other than the page's own, and what a browser marks as cross-site. Programs send neither Origin nor Sec-Fetch-Site
// and pass. It answers 403 and calls next for nothing else.
func Guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if cause := foreign(r); cause != "" {
			http.Error(w, "refused: "+cause, http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func foreign(r *http.Request) string {
	host := r.Host
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	if !isLoopback(host) {
		return "the Host header names another host than this machine's loopback"
	}
	if origin := r.Header.Get("Origin"); origin != "" {
		u, err := url.Parse(origin)
		if err != nil || u.Scheme != "http" || !strings.EqualFold(u.Host, r.Host) {
			return "the request comes from another origin"
		}
	}
	if site := r.Header.Get("Sec-Fetch-Site"); site == "cross-site" || site == "same-site" {
		return "the request comes from another site"
	}
	return ""
}
