// Package console shows a person the way of each invocation: trigger, token, each rule of the policy,
// backend, answer, and where the time went. It fires timers and events and switches faults.
//
// Collector joins what the stand-ins saw; Board keeps the invocations; API serves them, and all that the
// page does, as the management API of docs/sandbox.md. The page is one, without a framework or a build
// step, and speaks to nothing but that API on its own origin. There is no secret in it: neither token
// nor keys.
package console

import (
	"embed"
	"io/fs"
	"net/http"
)

//go:embed assets
var assets embed.FS

// Page serves the page at "/" with its style, script and icon. What it may load is limited to its own origin.
func Page() http.Handler {
	root, err := fs.Sub(assets, "assets")
	if err != nil {
		panic(err) // the name is embedded
	}
	files := http.FileServerFS(root)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cache-Control", "no-cache")
		files.ServeHTTP(w, r)
	})
}
