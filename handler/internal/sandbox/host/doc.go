// Package host is a stand-in for the Azure Functions host v4 and a custom handler: it reads a script root, starts the executable that host.json
// names, and calls it for HTTP requests, timers and events as the real host does, on a laptop without an Azure account.
//
// What it does follows the recordings of the real host (4.1037) in testdata and the sources that each file names. A test replays every recording
// and holds this list of those that differ on purpose:
//
//   - A-root: the start page is Microsoft's, 150 kB of it; ours is a line of text.
//   - D-root: as A-root.
//   - P-root: as A-root.
//
// Beyond the recordings: keys are handed in, not kept in files; nothing is read from or written to a storage account, so queues, blobs, hubs and
// topics exist only as events fired by hand, and outputs are kept in memory (Outputs); extension bundles are not loaded, and their triggers'
// settings not checked; status and lock of a timer are files of Config.StatusDir; there is no Easy Auth, no CORS of the platform, no HTTPS; the
// regex constraint of a route is Go's; http.routes and configurationProfile of host.json are not known; stack traces name no frames but those
// that a RetryContext carries; of the host's own log lines only those are written that tell what happens to the handler; it listens on loopback only;
// a second signal ends it at once; the keys of the admin API (/admin/functions/<name>/keys) are not served, RotateKey is.
//
// What goes wrong on request is in faults.go, each with what of the real host it looks like; all of it is off at first. Manage serves it over HTTP.
package host
