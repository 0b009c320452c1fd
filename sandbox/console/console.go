// Package console is the page on which a person sees each invocation travel: trigger, token, each rule of the policy, backend, answer, and
// where the time went. It fires timers and events and switches faults.
//
// It is one page without a framework or a build step, and speaks to nothing but the management API on its own origin, which command sandbox
// serves and docs/sandbox.md describes. It has no secret: neither token nor keys are in that API.
package console

import (
	"embed"
	"io/fs"
	"net/http"
)

//go:embed assets
var assets embed.FS

// Handler serves the page at "/" with its style, script and icon. What it may load is limited to its own origin.
func Handler() http.Handler {
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
